"""A trainer that lives and does nothing is found, looked into, and ended where its recipe says so."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from monitoring.models import Finding, Stream
from pipelines.folders import run_folder
from pipelines.models import Recipe, Stage
from pipelines.states import Outcome, StageStatus
from platform_runtime.contract import ProcessInfo
from platform_runtime.files import load

from .conftest import Hands
from .test_a_run_from_queue_to_end import carriers
from .watched import watched

pytestmark = pytest.mark.django_db(transaction=True)

LISTENS = 'from platform_runtime import stacks\nstacks.listen({"ANNEAL_RUN_FOLDER": os.getcwd()})\n'
STALLS = """
def frozen_dataloader():
    time.sleep(60)
for n in range(1, 5):
    step(n, loss=1.0 / n)
    time.sleep(0.02)
frozen_dataloader()
"""
GOES_ON = """
n = 0
while not os.path.exists("enough"):
    n += 1
    step(n, loss=1.0 / n)
    time.sleep(0.05)
"""
AN_HOUR_BACK_THEN_AHEAD = """
def off():
    return {1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: -3600, 7: -3600, 8: -3600, 9: 0, 10: 0, 11: 3600, 12: 3600}.get(n, 0)
plain = time.time
time.time = lambda: plain() + off()
for n in range(1, 25):
    step(n, loss=1.0 / n)
    time.sleep(0.1)
"""


@pytest.fixture(autouse=True)
def _soon(settings: Settings) -> None:
    settings.STALL_AFTER_S = 1.0


def stalled(hands: Hands, script: str, on_stall: str = "notify", **fields: int) -> Stage:
    stage = watched(hands, script, **fields)
    Recipe.objects.filter(slug="watched").update(on_stall=on_stall)
    hands.launch(stage)
    return stage


def finding(hands: Hands, stage: Stage) -> Finding:
    found: Finding = hands.wait(lambda: Finding.objects.filter(stream_id=stage.pk, rule="stall").first())
    return found


def test_it_is_found_with_the_stack_of_its_threads(hands: Hands) -> None:
    stage = stalled(hands, LISTENS + STALLS)
    found = finding(hands, stage)
    assert (found.start_step, found.open, found.attempt) == (4, True, 1)
    assert any("frozen_dataloader" in line for line in found.params["lines"])
    assert "frozen_dataloader" in (Path(hands.attempt(stage).folder) / "stacks.txt").read_text()
    assert hands.status(stage) == "running", "people are told, and nothing else happens"
    hands.look()
    assert Finding.objects.filter(rule="stall").count() == 1
    assert Stream.objects.get(pk=stage.pk).health_score == 70


def test_a_process_that_does_not_listen_is_not_hurt_by_being_asked(hands: Hands) -> None:
    stage = stalled(hands, STALLS)
    found = finding(hands, stage)
    assert found.params["lines"] == ["no process of the run listens, and py-spy is not installed"]
    hands.look()
    assert hands.status(stage) == "running"


def test_it_fails_for_good_where_the_recipe_says_so(hands: Hands) -> None:
    stage = stalled(hands, STALLS, "fail", max_retries=2)
    assert hands.until(stage) == "failed"
    assert stage.error_message.startswith("Stopped by stall: No step has come for ")
    assert stage.attempts.count() == 1
    assert carriers(hands.attempt(stage)) == []


def test_it_is_tried_again_where_the_recipe_says_so(hands: Hands) -> None:
    stage = stalled(hands, STALLS, "resume", max_retries=1)
    first = hands.attempt(stage)
    assert hands.until(stage, StageStatus.QUEUED, StageStatus.FAILED) == "queued"
    first.refresh_from_db()
    assert first.outcome == Outcome.LOST
    assert first.reason.startswith("Stopped by stall: ")
    assert hands.attempt(stage).number == 2
    assert carriers(first) == []


def test_a_run_is_slow_and_not_still_while_its_steps_take_as_long_as_they_do(hands: Hands, settings: Settings) -> None:
    settings.STALL_FACTOR = 1000.0
    stage = stalled(hands, STALLS.replace("0.02", "0.3"))
    hands.until(stage, StageStatus.RUNNING)
    with pytest.raises(AssertionError, match="in time"):
        hands.wait(lambda: Finding.objects.filter(rule="stall").exists(), timeout_s=3)


def test_the_step_after_it_ends_the_finding(hands: Hands) -> None:
    until_told = 'while not os.path.exists("on"): time.sleep(0.02)'
    stage = stalled(hands, STALLS.replace("time.sleep(60)", until_told) + "step(5, loss=0.1)\ntime.sleep(30)\n")
    assert finding(hands, stage).open
    (Path(hands.attempt(stage).folder) / "on").touch()
    hands.wait(lambda: Finding.objects.filter(rule="stall", open=False).exists())


@contextmanager
def stopped(hands: Hands, stage: Stage) -> Iterator[int]:
    """Its trainer after a few steps, stopped by a signal."""
    hands.wait(lambda: (Stream.objects.get(pk=stage.pk).last_step or 0) >= 4)
    info = load(ProcessInfo, run_folder(hands.attempt(stage)).process)
    assert info is not None
    os.kill(info.child_pid, signal.SIGSTOP)
    try:
        yield info.child_pid
    finally:
        try:
            os.kill(info.child_pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # the platform ended it


@pytest.mark.parametrize("listens", [LISTENS, ""])
def test_a_trainer_that_was_stopped_is_named_at_once_and_goes_on_when_it_is_let(hands: Hands, listens: str) -> None:
    stage = stalled(hands, listens + GOES_ON)
    with stopped(hands, stage) as pid:
        found = finding(hands, stage)
        (line,) = found.params["lines"]
        assert line.startswith(f"process {pid} (")
        assert "was stopped by a signal" in line
        assert f"kill -CONT {pid}" in line
        began = time.monotonic()
        hands.look()
        assert time.monotonic() - began < 2, "nobody waits for one who cannot answer, nor asks it again"
        assert hands.status(stage) == "running"
    hands.wait(lambda: Finding.objects.filter(rule="stall", open=False).exists())
    folder = run_folder(hands.attempt(stage))
    (Path(folder.path) / "enough").touch()
    assert hands.until(stage) == "completed"
    assert Finding.objects.filter(rule="stall").count() == 1
    assert Stream.objects.get(pk=stage.pk).last_step == len(Path(folder.metrics).read_text().splitlines())


@pytest.mark.parametrize(("on_stall", "then"), [("fail", "failed"), ("resume", "queued")])
def test_a_trainer_that_was_stopped_is_ended_where_the_recipe_says_so(hands: Hands, on_stall: str, then: str) -> None:
    stage = stalled(hands, LISTENS + GOES_ON, on_stall, max_retries=1)
    first = hands.attempt(stage)
    with stopped(hands, stage):
        assert hands.until(stage, StageStatus.QUEUED, StageStatus.FAILED) == then
        assert carriers(first) == [], "also one that cannot hear that it is to end"
    first.refresh_from_db()
    assert first.reason.startswith("Stopped by stall: ")
    assert "No step has come for" in first.reason


def test_a_trainer_whose_clock_jumps_stands_still_for_as_long_as_ours_says(hands: Hands, settings: Settings) -> None:
    """An hour back, then two ahead; then it does stand still."""
    settings.STALL_FACTOR = 6.0
    stage = stalled(hands, AN_HOUR_BACK_THEN_AHEAD + "time.sleep(30)\n")
    hands.wait(lambda: Stream.objects.get(pk=stage.pk).last_step == 24)
    assert not Finding.objects.exists(), "steps came all the while"
    found = finding(hands, stage)
    assert found.start_step == 24
    assert found.value is not None
    assert 1 <= found.value < 10, "seconds of ours, and not the hours of its clock"
    assert Finding.objects.count() == 1
