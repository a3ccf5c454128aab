"""A trainer that lives and does nothing is found, looked into, and ended where its recipe says so."""

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from monitoring.models import Finding, Stream
from pipelines.models import Recipe, Stage
from pipelines.states import Outcome, StageStatus

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
        hands.wait(lambda: Finding.objects.filter(rule="stall").exists(), timeout_s=5)


def test_the_step_after_it_ends_the_finding(hands: Hands) -> None:
    script = STALLS.replace("time.sleep(60)", "time.sleep(4)") + "step(5, loss=0.1)\ntime.sleep(30)\n"
    stage = stalled(hands, script)
    assert finding(hands, stage).open
    hands.wait(lambda: Finding.objects.filter(rule="stall", open=False).exists())
