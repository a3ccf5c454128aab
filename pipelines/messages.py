"""The messages the platform sends itself. Each is only a nudge: the next tick sends again what was lost."""

from typing import Final
from uuid import UUID

from platform_site.common.messages import send
from platform_site.common.queues import CONTROL, IDLE_HOSTS, MAINTENANCE, REMOTE

TICK_MAX_AGE_MS: Final = 5_000
"""A tick that waited longer says nothing that the next one does not."""

MAINTENANCE_MAX_AGE_MS: Final = 60_000


def send_launch(attempt_id: UUID, queue: str) -> None:
    """To the stage's own queue, which only its own workers take from."""
    send("launch_attempt", queue, str(attempt_id))


def send_stop(attempt_id: UUID, *, remote: bool = False) -> None:
    """`remote`: it runs on a host that is reached over a network."""
    send("stop_attempt", REMOTE if remote else CONTROL, str(attempt_id))


def send_dispatch() -> None:
    send("dispatch_tick", CONTROL, max_age_ms=TICK_MAX_AGE_MS)


def send_maintenance() -> None:
    send("maintain", MAINTENANCE, max_age_ms=MAINTENANCE_MAX_AGE_MS)


def send_observe(host_id: int, *, remote: bool = False) -> None:
    send("observe_host", REMOTE if remote else CONTROL, host_id, max_age_ms=TICK_MAX_AGE_MS)


def send_idle_look(host_id: int) -> None:
    """At a host that nothing runs on."""
    send("observe_host", IDLE_HOSTS, host_id, max_age_ms=TICK_MAX_AGE_MS)


def send_observe_stages(stage_ids: list[str], *, remote: bool = False) -> None:
    send("observe_stages", REMOTE if remote else CONTROL, stage_ids, max_age_ms=TICK_MAX_AGE_MS)
