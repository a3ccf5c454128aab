"""What a run's files had that could not be used, in the reader's language."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from monitoring.models import BadLine

BAD_LINES: Final = "bad_lines"


def warnings(codes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of a stream's warnings, in the order in which they first came."""
    return [TEXTS[one["code"]](one) for one in codes if one["code"] in TEXTS]


def reason(line: BadLine) -> str:
    """Why a line could not be used. What a parser adds in its own words stays."""
    told, colon, detail = line.reason.partition(": ")
    return f"{_(told)}{colon}{detail}"


def _bad_lines(told: Mapping[str, Any]) -> str:
    count = told["count"]
    return ngettext("%(n)d line could not be used.", "%(n)d lines could not be used.", count) % {"n": count}


TEXTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    BAD_LINES: _bad_lines,
    "not_a_file": lambda told: _("%(path)s is no file: nothing can be read of it.") % {"path": told["path"]},
    "too_many_names": lambda told: (
        _("The trainer logs more than %(limit)d metrics: %(refused)d further ones are left out.")
        % {"limit": told["limit"], "refused": told["refused"]}
    ),
    "not_a_metric": lambda told: (
        _("Left out, since they are no numbers: %(names)s.") % {"names": ", ".join(told["names"])}
    ),
    "forgotten": lambda told: (
        _("The steps were deleted after the %(days)d days that metrics are kept.")
        % {"days": round(told["after_s"] / 86_400)}
    ),
}
"""Code of a warning -> its sentence."""
