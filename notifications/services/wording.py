"""What a message that leaves the platform says."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from notifications.kinds import severity_label
from notifications.models import Event
from notifications.services.outside import Message
from platform_site.common.severity import Severity

MOST_LINES: Final = 20
LONGEST: Final = 1000
CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def message(events: Sequence[Event], language: str) -> Message:
    """One event as it is; several as lines, the worst first, those of one group and kind together."""
    with translation.override(language):
        worst = Severity(max(event.severity for event in events))
        if len(events) == 1:
            told = events[0].told
            parts = (told.text[:LONGEST], _address(events[0].link))
            return _clean(told.title, "\n\n".join(filter(None, parts)) or told.title, worst)
        folds = [
            list(many) for _key, many in groupby(sorted(events, key=_place), key=lambda one: (one.group, one.kind))
        ]
        folds.sort(key=lambda many: (-many[0].severity, -many[0].pk))
        lines = [_line(many) for many in folds[:MOST_LINES]]
        if len(folds) > MOST_LINES:
            lines.append(_("… and %(n)s more") % {"n": len(folds) - MOST_LINES})
        lines.append(_address("/notifications/"))
        title = ngettext("%(n)d event", "%(n)d events", len(events)) % {"n": len(events)}
        return _clean(title, "\n\n".join(lines), worst)


def trial(language: str, name: str) -> Message:
    with translation.override(language):
        return _clean(
            _("A test"),
            _("Messages to “%(name)s” arrive. Nothing happened; somebody asked for this one.") % {"name": name},
            Severity.INFO,
        )


def _place(event: Event) -> tuple[str, str, int, int]:
    return event.group, event.kind, -event.severity, -event.pk


def _line(events: Sequence[Event]) -> str:
    """The worst of a fold, and how many there were."""
    first = events[0]
    times = f" (\N{MULTIPLICATION SIGN}{len(events)})" if len(events) > 1 else ""
    return f"{severity_label(first.severity)}: {first.told.title}{times}\n{_address(first.link)}"


def _address(link: str) -> str:
    return f"{settings.PUBLIC_URL}{link}" if link else ""


def _clean(title: str, body: str, severity: Severity) -> Message:
    return Message(f"Anneal: {CONTROL.sub(' ', title).replace(chr(10), ' ')[:200]}", CONTROL.sub(" ", body), severity)
