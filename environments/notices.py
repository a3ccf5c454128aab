"""What is told of hosts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from environments.models import Host
from notifications.kinds import Kind, Told
from notifications.services.events import Happened, note
from platform_site.common import clock
from platform_site.common.severity import Severity

AWAY_S: Final = 60.0
"""A host that is back sooner is not worth a word."""


def _tell(about: str, args: Mapping[str, Any]) -> Told:
    return Told(_("Host %(host)s does not answer") % {"host": about}, str(args.get("error", "")))


HOST_UNREACHABLE: Final = Kind(
    "host_unreachable",
    gettext_noop("A host does not answer"),
    gettext_noop("For a minute or longer."),
    _tell,
    place=6,
)


def is_away(host: Host, since: datetime, error: str) -> None:
    """Once for each time that it stays away, in the transaction that notes it."""
    if clock.age_s(since) < AWAY_S:
        return
    note(
        Happened(
            key=f"host:{host.pk}:{since.isoformat()}",
            kind=HOST_UNREACHABLE.slug,
            severity=Severity.ERROR,
            group=f"host:{host.pk}",
            about=host.name,
            link=reverse("host", args=[host.name]),
            args={"error": error},
        )
    )
