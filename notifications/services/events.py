"""Note that something happened. One INSERT in the transaction in which it did; all else follows from the row."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from notifications.models import Event
from platform_site.common.messages import send
from platform_site.common.queues import NOTIFICATIONS
from platform_site.common.severity import Severity


@dataclass(frozen=True)
class Happened:
    """See `notifications.models.Event`. `args` is JSON."""

    key: str
    kind: str
    severity: Severity
    group: str
    about: str
    link: str
    args: dict[str, Any] = field(default_factory=dict)
    owner_id: int | None = None


def note(*happened: Happened) -> None:
    """Those whose key is known have been noted before: nothing happens twice."""
    note_all(happened)


def note_all(happened: Collection[Happened]) -> None:
    if not happened:
        return
    Event.objects.bulk_create(
        [
            Event(
                key=one.key[:400],
                kind=one.kind,
                severity=one.severity,
                group=one.group[:100],
                about=one.about[:200],
                link=one.link[:300],
                args=one.args,
                owner_id=one.owner_id,
            )
            for one in happened
        ],
        ignore_conflicts=True,
        batch_size=200,
    )
    transaction.on_commit(send_spread, robust=True)


def send_spread() -> None:
    """Have a worker tell people. Should the message be lost, the next tick sends it again."""
    send("spread_events", NOTIFICATIONS, max_age_ms=5_000)
