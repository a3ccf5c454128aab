"""A run whose process somebody stopped with a signal and never continued ends all the same; a slow one goes on."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from pytest_django.fixtures import Settings

from pipelines.models import Attempt, Stage
from pipelines.services import cancel
from pipelines.states import Outcome, StageStatus
from platform_runtime import heartbeat, processes

from . import builders
from .conftest import Hands
from .test_a_run_from_queue_to_end import carriers

pytestmark = pytest.mark.django_db(transaction=True)

SLEEP = "import time; time.sleep(60)"


def frozen(hands: Hands, who: str, **fields: int) -> tuple[Stage, Attempt, psutil.Process]:
    """A stage that runs, and the process of it that was frozen."""
    stage = hands.script(SLEEP, **fields)
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    attempt.refresh_from_db()
    process = psutil.Process(attempt.handle[who])
    process.suspend()
    hands.wait(lambda: process.status() == psutil.STATUS_STOPPED)
    return stage, attempt, process


@pytest.mark.parametrize("who", ["runner_pid", "child_pid"])
def test_it_is_ended_and_says_why(hands: Hands, settings: Settings, who: str) -> None:
    settings.FROZEN_AFTER_S = 1
    stage, attempt, process = frozen(hands, who)

    assert hands.until(stage) == "failed"

    attempt.refresh_from_db()
    assert attempt.outcome == Outcome.LOST
    assert "frozen" in stage.error_message
    assert stage.started_at is not None
    assert stage.completed_at is not None
    assert stage.completed_at > stage.started_at
    assert carriers(attempt) == []
    assert processes.look(process.pid) is None


def test_it_is_tried_again_where_a_try_is_left(hands: Hands, settings: Settings) -> None:
    settings.FROZEN_AFTER_S = 1
    stage, attempt, _process = frozen(hands, "runner_pid", max_retries=1)

    assert hands.until(stage, StageStatus.QUEUED) == "queued"

    assert hands.attempt(stage).number == 2
    assert carriers(attempt) == []


@pytest.mark.parametrize("after_s", [0, 600])
def test_it_is_left_alone_until_then_and_goes_on(hands: Hands, settings: Settings, after_s: int) -> None:
    settings.FROZEN_AFTER_S = after_s
    stage, _attempt, process = frozen(hands, "runner_pid")
    time.sleep(1)
    hands.look()
    assert hands.status(stage) == "running"

    process.resume()
    hands.look()

    assert hands.status(stage) == "running"
    assert process.is_running()


def test_silence_alone_ends_nothing(hands: Hands, settings: Settings) -> None:
    """As of a machine that is overloaded, or that was suspended: the runner has not been heard for long, but runs."""
    settings.FROZEN_AFTER_S = 1
    stage = hands.script(SLEEP)
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    beat = Path(attempt.folder) / "heartbeat"
    hands.wait(beat.exists)
    beat.write_text(f"{0.1:018.3f} {0.2:018.3f}\n")
    assert heartbeat.read(str(beat)) == heartbeat.Beat(0.1, 0.2)

    hands.look()

    assert hands.status(stage) == "running"


def test_a_frozen_run_is_cancelled_by_force(hands: Hands) -> None:
    stage = hands.script(SLEEP)
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    attempt.refresh_from_db()
    os.kill(attempt.handle["runner_pid"], signal.SIGSTOP)
    os.kill(attempt.handle["child_pid"], signal.SIGSTOP)

    cancel.cancel_stage(stage.id, user=builders.person())
    cancel.stop_attempt(attempt.id)

    attempt.refresh_from_db()
    assert attempt.stop_sent_at is not None
    hands.look()
    assert hands.status(stage) == "cancelling", "its grace is not over"
    Attempt.objects.filter(pk=attempt.pk).update(stop_sent_at="2020-01-01T00:00:00Z")
    assert hands.until(stage) == "cancelled"
    assert carriers(attempt) == []
