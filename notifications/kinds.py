"""What people can be told of. Each app registers its own kinds at start-up; how one is put into words is its business.

An event keeps a kind and arguments, never a sentence: it is told in the language of whoever reads it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.utils.translation import gettext as _

from platform_site.common.roles import Role
from platform_site.common.severity import Severity


class Told(NamedTuple):
    """In the active language: one line, and what there is to say beyond it."""

    title: str
    text: str


@dataclass(frozen=True)
class Kind:
    """`label` and `hint` are marked for translation. `tell` takes what the event is about and its arguments.

    `graded`: from which severity on somebody is told is theirs to choose; of other kinds they are told, or not. Only
    people with `role` hear of it. Pages list kinds by `place`.
    """

    slug: str
    label: str
    hint: str
    tell: Callable[[str, Mapping[str, Any]], Told]
    place: int
    graded: bool = False
    role: Role = Role.VIEWER


_kinds: Final[dict[str, Kind]] = {}


def register(*kinds: Kind) -> None:
    """Offer kinds, at start-up."""
    for kind in kinds:
        _kinds[kind.slug] = kind


def kinds() -> tuple[Kind, ...]:
    return tuple(sorted(_kinds.values(), key=lambda kind: kind.place))


def kind_of(slug: str) -> Kind | None:
    """None for one that this version does not know."""
    return _kinds.get(slug)


def label_of(slug: str) -> str:
    kind = _kinds.get(slug)
    return _(kind.label) if kind is not None else slug


def severity_label(severity: int) -> str:
    return {
        Severity.INFO: _("Info"),
        Severity.WARNING: _("Warning"),
        Severity.ERROR: _("Error"),
        Severity.CRITICAL: _("Critical"),
    }[Severity(severity)]
