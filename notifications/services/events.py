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
                key=_kept(one.key[:400]),
                kind=one.kind,
                severity=one.severity,
                group=_kept(one.group[:100]),
                about=_kept(one.about[:200]),
                link=_kept(one.link[:300]),
                args=_kept(one.args),
                owner_id=one.owner_id,
            )
            for one in happened
        ],
        ignore_conflicts=True,
        batch_size=200,
    )
    transaction.on_commit(send_spread, robust=True)


def _kept(value: Any) -> Any:
    """What a trainer said may hold what PostgreSQL takes for no text: that must not undo what is being told of."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode(errors="replace").decode()
        case dict():
            return {_kept(key): _kept(item) for key, item in value.items()}
        case list() | tuple():
            return [_kept(item) for item in value]
    return value


def send_spread() -> None:
    """Have a worker tell people. Should the message be lost, the next tick sends it again."""
    send("spread_events", NOTIFICATIONS, max_age_ms=5_000)
