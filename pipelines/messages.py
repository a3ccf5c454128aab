"""The messages the platform sends itself. Each is only a nudge: the next tick sends again what was lost."""

from typing import Final
from uuid import UUID

from environments.models import Host
from platform_site.common.messages import send, send_once
from platform_site.common.queues import AWAY_HOSTS, CONTROL, IDLE_HOSTS, MAINTENANCE, REMOTE

TICK_MAX_AGE_MS: Final = 5_000
"""A tick that waited longer says nothing that the next one does not."""

LOOK_MAX_AGE_MS: Final = 30_000
"""A look keeps its place in a queue that silent hosts have made long: no other is sent meanwhile."""

PATIENT_MAX_AGE_MS: Final = 300_000
"""The same where most of a queue may keep silent."""

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


def send_observe(host: Host) -> None:
    """At a host with live attempts, unless a look at it waits already."""
    if host.is_local:
        queue, max_age_ms = CONTROL, TICK_MAX_AGE_MS
    elif host.unreachable_since is None:
        queue, max_age_ms = REMOTE, LOOK_MAX_AGE_MS
    else:
        queue, max_age_ms = AWAY_HOSTS, PATIENT_MAX_AGE_MS
    send_once("observe_host", queue, host.pk, max_age_ms=max_age_ms)


def send_idle_look(host: Host) -> None:
    """At a host that nothing runs on, unless one waits already."""
    send_once("observe_host", IDLE_HOSTS, host.pk, max_age_ms=PATIENT_MAX_AGE_MS)


def send_observe_stages(stage_ids: list[str], *, remote: bool = False) -> None:
    send("observe_stages", REMOTE if remote else CONTROL, stage_ids, max_age_ms=TICK_MAX_AGE_MS)
