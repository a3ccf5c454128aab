"""Somebody sets the wall clock by an hour, forward or back: no time-out and no lease ends early or hangs for it."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from environments.models import Host
from pipelines.kinds import InlineKind, Verdict, registry
from pipelines.models import Attempt, Stage
from pipelines.services import dispatch, launch, leases, observe
from pipelines.services.integrity import check
from pipelines.states import StageStatus
from platform_site.common import clock
from platform_site.common.messages import connect
from platform_site.common.models import User
from platform_site.loops.scheduler import Lease

from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def is_set(by: timedelta) -> time_machine.travel:
    """The wall clock of this process, set by so much; it goes on from there. The steady clock does not notice."""
    return time_machine.travel(timezone.now() + by)


@pytest.fixture(autouse=True)
def _noticed() -> Iterator[None]:
    """The platform looks at its clocks each second, before a test sets one and after."""
    clock.look()
    yield
    clock.look()


UNTIL_TOLD = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)"


def tell(attempt: Attempt) -> None:
    """Ends UNTIL_TOLD: a run that ended by itself might do so, on a busy machine, before anybody saw it run."""
    (Path(attempt.folder) / "go").touch()


def running(hands: Hands, code: str = "import time; time.sleep(60)", **fields: Any) -> tuple[Stage, Attempt]:
    stage = hands.script(code, **fields)
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    return stage, attempt


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_run_keeps_its_timeout_and_has_its_true_duration(hands: Hands, by: timedelta) -> None:
    stage, attempt = running(hands, UNTIL_TOLD, timeout_s=1800)
    with is_set(by):
        hands.look()
        assert hands.status(stage) == "running"
        tell(attempt)
        assert hands.until(stage) == "completed"
        hands.look()

    elapsed = json.loads((Path(attempt.folder) / "exit.json").read_text())["elapsed_s"]
    assert stage.started_at is not None
    assert stage.completed_at is not None
    assert (stage.completed_at - stage.started_at).total_seconds() == pytest.approx(elapsed, abs=0.01)


def test_a_clock_set_back_keeps_no_run_past_its_timeout(hands: Hands) -> None:
    stage, _attempt = running(hands, timeout_s=1)
    with is_set(-HOUR):
        assert hands.until(stage) == "failed"
    assert "timeout of 1 s" in stage.error_message


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_run_that_is_being_stopped_keeps_its_grace(hands: Hands, by: timedelta) -> None:
    code = (
        "import signal, sys, time\n"
        "def end(*_): time.sleep(1.5); open('ended', 'w'); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, end); open('ready', 'w'); time.sleep(60)"
    )
    stage, attempt = running(hands, code, timeout_s=1, params={"grace": 10.0})
    hands.wait((Path(attempt.folder) / "ready").exists)
    hands.wait(lambda: Attempt.objects.filter(pk=attempt.pk, stop_sent_at__isnull=False).exists())
    with is_set(by):
        assert hands.until(stage) == "failed"
    attempt.refresh_from_db()
    assert (Path(attempt.folder) / "ended").exists()
    assert attempt.exit_code == 7, "it was killed before its grace was over"


class JumpingKind(InlineKind):
    """The clock is set while it works."""

    name = "jumping"
    queue = "default"
    by = HOUR
    traveller: Any = None

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        return {}

    def run(self, stage: Stage, params: dict[str, Any]) -> Verdict:
        time.sleep(0.3)
        JumpingKind.traveller = is_set(JumpingKind.by)
        JumpingKind.traveller.start()
        time.sleep(0.3)
        return Verdict(True, result={"value": 0})


registry.register(JumpingKind())


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_stage_in_the_worker_has_its_true_duration(hands: Hands, by: timedelta) -> None:
    JumpingKind.by = by
    stage = hands.script("pass")
    Stage.objects.filter(pk=stage.pk).update(kind="jumping", queue="default", params={})
    dispatch.dispatch()
    try:
        assert launch.launch(hands.attempt(stage).id)
    finally:
        JumpingKind.traveller.stop()
    assert hands.status(stage) == "completed"
    assert stage.started_at is not None
    assert stage.completed_at is not None
    assert 0.5 < (stage.completed_at - stage.started_at).total_seconds() < 20


def leased(hands: Hands) -> tuple[Stage, Attempt]:
    """A stage that runs in a worker, its lease just renewed."""
    stage = hands.script("pass")
    Stage.objects.filter(pk=stage.pk).update(kind="noop", queue="default", params={})
    dispatch.dispatch()
    lease = timezone.now() + timedelta(seconds=leases.LEASE_S)
    as_worker = {"status": StageStatus.RUNNING}
    Stage.objects.filter(pk=stage.pk).update(**as_worker)
    Attempt.objects.filter(stage=stage).update(started_at=timezone.now(), lease_until=lease)
    return stage, hands.attempt(stage)


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_workers_lease_holds_as_long_as_it_was_given(hands: Hands, by: timedelta) -> None:
    stage, attempt = leased(hands)
    with is_set(by):
        hands.look()
        assert hands.status(stage) == "running"
        long_gone = attempt.lease_until - timedelta(seconds=leases.LEASE_S + 1)
        Attempt.objects.filter(pk=attempt.pk).update(lease_until=long_gone)
        hands.look()
        assert hands.status(stage) == "queued"


def test_an_observer_that_died_before_the_clock_was_set_back_blocks_nobody(hands: Hands) -> None:
    stage, attempt = running(hands, UNTIL_TOLD)
    tell(attempt)
    Host.objects.update(observer="dead", observer_until=timezone.now() + observe.LEASE, retry_at=timezone.now())
    with is_set(-HOUR):
        assert hands.until(stage, timeout_s=10) == "completed"


def test_a_pause_before_the_next_try_is_not_an_hour_longer(hands: Hands) -> None:
    stage = hands.script("pass")
    Stage.objects.filter(pk=stage.pk).update(not_before=timezone.now() + timedelta(seconds=30))
    with is_set(-HOUR):
        assert any("was not to be tried before" in said for said in check())
        hands.launch(stage)
        assert hands.until(stage) == "completed"


def test_a_dead_schedulers_lease_ends_also_when_redis_clock_was_set_back() -> None:
    with connect() as redis:
        redis.set("dead lease", "somebody", px=3_600_000)
        lease = Lease(redis, "dead lease", ttl_ms=200)
        assert not lease.hold()
        time.sleep(0.3)
        assert lease.hold()
