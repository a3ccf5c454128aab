"""The actors: each takes ids, calls one service, and is safe to run twice. They launch and look; they never wait."""

import os
import socket
from typing import Any, Final
from uuid import UUID

import dramatiq

from environments.messages import send_comparison
from environments.models import Host
from environments.services.drift import due
from environments.services.reach import is_due
from monitoring.services.tidy import tidy
from notifications.services import reading
from notifications.services.tick import tick as notifications_tick
from pipelines.messages import (
    send_dispatch,
    send_idle_look,
    send_maintenance,
    send_observe,
    send_observe_stages,
)
from pipelines.models import Attempt
from pipelines.services import backtests, cancel, dispatch, integrity, launch, learn, observe, setup_host
from pipelines.services.observe import ready
from pipelines.states import STAGE_ACTIVE, StageStatus
from platform_site.common import clock
from platform_site.common.api import idempotency
from platform_site.common.db import released_connections
from platform_site.common.queues import CONTROL, DEFAULT, HOST_CHECKS, MAINTENANCE

# Retries are the observer's business: it sees what did not happen and sends again.
_ONCE: Final[dict[str, Any]] = {"max_retries": 0}


@dramatiq.actor(queue_name=DEFAULT, time_limit=120_000, **_ONCE)
def launch_attempt(attempt_id: str) -> None:
    """Start the process of an attempt. Sent to the queue of its stage; delivered any number of times."""
    launch.launch(UUID(attempt_id), worker=f"{socket.gethostname()}-{os.getpid()}")


@dramatiq.actor(queue_name=CONTROL, time_limit=60_000, **_ONCE)
def stop_attempt(attempt_id: str) -> None:
    """End the process of an attempt whose cancelling was asked for."""
    cancel.stop_attempt(UUID(attempt_id))


@dramatiq.actor(queue_name=CONTROL, time_limit=60_000, **_ONCE)
def dispatch_tick() -> None:
    """Give queued stages the slots that are free."""
    dispatch.dispatch()


@dramatiq.actor(queue_name=CONTROL, time_limit=120_000, **_ONCE)
def observe_host(host_id: int) -> None:
    """Look at every live attempt of one host."""
    observe.observe_host(host_id)


@dramatiq.actor(queue_name=CONTROL, time_limit=60_000, **_ONCE)
def observe_stages(stage_ids: list[str]) -> None:
    """Look at some stages at once, because their files changed."""
    observe.observe_stages([UUID(stage_id) for stage_id in stage_ids])


@dramatiq.actor(queue_name=MAINTENANCE, time_limit=120_000, **_ONCE)
def maintain() -> None:
    """Check that what the database says of pipelines fits together, repair what does not, tidy up what is old."""
    integrity.check()
    learn.send_unread()
    backtests.send_unfinished()
    tidy()
    reading.tidy()
    idempotency.forget_old()


@dramatiq.actor(queue_name=HOST_CHECKS, time_limit=240_000, **_ONCE)
def compare_environment(host_id: int) -> None:
    """Check one host, compare its training environment with what the platform needs, and do what the policy says."""
    setup_host.look(host_id)


@dramatiq.actor(queue_name=MAINTENANCE, time_limit=1_800_000, **_ONCE)
def work_on_backtest(backtest_id: str) -> None:
    """Read past runs with the rules of a back-test."""
    backtests.work(UUID(backtest_id))


@dramatiq.actor(queue_name=MAINTENANCE, time_limit=1_800_000, **_ONCE)
def learn_from_run(stream_id: str) -> None:
    """Read a healthy run for what it teaches of thresholds."""
    learn.learn_from(UUID(stream_id))


@released_connections()
def tick() -> None:
    """What the scheduler does each second: send a look at each host with live attempts and at others that are due, a
    dispatch if due, and on what a worker that died left of a back-test.

    Also to hosts that are disabled: that keeps new work away, and must not keep what runs there from ending; and to
    those that did not answer, since nothing is sent there until they do.
    """
    clock.look()
    live = Attempt.objects.filter(outcome="", stage__status__in=STAGE_ACTIVE, host__isnull=False)
    busy = dict(live.order_by().values_list("host_id", "host__kind").distinct())
    for host_id, kind in busy.items():
        send_observe(host_id, remote=kind != Host.Kind.LOCAL)
    for host in Host.objects.filter(ready()).exclude(pk__in=busy).defer("facts", "environment", "gpus"):
        if is_due(host):
            send_idle_look(host.pk)
    if Attempt.objects.filter(outcome="", stage__status=StageStatus.QUEUED).exists():
        send_dispatch()
    backtests.send_abandoned()
    notifications_tick()


@released_connections()
def maintenance_tick(*, at_start: bool = False) -> None:
    """What the scheduler does each few minutes, for the first time soon after it began."""
    send_maintenance()
    for host in due(at_start=at_start):
        send_comparison(host.pk)


def nudge(stage_ids: list[str], *, remote: bool = False) -> None:
    """Files of these stages changed: look at them now. Touches no database."""
    send_observe_stages(stage_ids, remote=remote)
