"""What nothing repairs stops a run, or marks it, or is only told: as its recipe says."""

import pytest

from monitoring.models import Finding, Stream
from pipelines.models import Pipeline, Transition
from pipelines.services import cancel, control
from pipelines.states import Outcome, StageStatus

from . import builders
from .conftest import Hands
from .test_a_run_from_queue_to_end import carriers
from .watched import watched

pytestmark = pytest.mark.django_db(transaction=True)

BROKEN = """
step(1, **{"actor/kl_loss": 0.1})
step(2, **{"actor/pg_loss": "NaN"})
"""
WAITS = BROKEN + "time.sleep(60)"
ENDS = BROKEN + "step(3, loss=1)"


def test_a_run_is_stopped_and_says_by_which_rule_metric_step_and_value(hands: Hands) -> None:
    stage = watched(hands, WAITS, max_retries=3)
    attempt = hands.launch(stage)

    assert hands.until(stage) == "failed"

    assert stage.error_message == "Stopped by nan_inf: actor/pg_loss is NaN at step 2."
    attempt.refresh_from_db()
    assert attempt.outcome == Outcome.FAILED
    assert attempt.stop_sent_at is not None
    assert carriers(attempt) == []
    assert stage.attempts.count() == 1, "it is not tried again: it would break again"
    assert Transition.objects.filter(stage=stage, to_status="failed").get().reason == stage.error_message


def test_its_pipeline_does_not_try_it_again_either(hands: Hands) -> None:
    stage = watched(hands, WAITS)
    Pipeline.objects.filter(pk=stage.pipeline_id).update(max_retries=2)
    hands.launch(stage)
    hands.until(stage)
    pipeline = Pipeline.objects.get(pk=stage.pipeline_id)
    assert (pipeline.status, pipeline.retry_count) == ("failed", 0)
    assert stage.attempts.count() == 1


def test_a_kl_explosion_stops_too(hands: Hands) -> None:
    stage = watched(hands, 'step(1, **{"actor/kl_loss": 7.5}); time.sleep(60)')
    hands.launch(stage)
    assert hands.until(stage) == "failed"
    assert stage.error_message == "Stopped by kl_explosion: actor/kl_loss is 7.5 at step 1: 7.5 times the threshold."


def test_a_run_that_ended_well_before_it_could_be_stopped_has_failed_all_the_same(hands: Hands) -> None:
    stage = watched(hands, ENDS)
    hands.launch(stage)
    assert hands.until(stage) == "failed"
    assert stage.error_message.startswith("Stopped by nan_inf: actor/pg_loss")


def test_a_marked_run_goes_on_and_has_failed_when_it_ends(hands: Hands) -> None:
    stage = watched(hands, BROKEN + "time.sleep(1.5); step(3, loss=1)", policy="mark")
    attempt = hands.launch(stage)
    assert hands.until(stage) == "failed"
    attempt.refresh_from_db()
    assert attempt.stop_sent_at is None
    assert Stream.objects.get(pk=stage.pk).last_step == 3
    assert stage.error_message == "nan_inf: actor/pg_loss is NaN at step 2."


def test_where_people_are_only_told_the_run_completes(hands: Hands) -> None:
    stage = watched(hands, ENDS, policy="notify")
    hands.launch(stage)
    assert hands.until(stage) == "completed"
    assert Finding.objects.filter(stream_id=stage.pk, rule="nan_inf").exists()


def test_an_error_stops_nothing(hands: Hands) -> None:
    stage = watched(hands, 'step(1, **{"actor/kl_loss": 4.9})')
    hands.launch(stage)
    assert hands.until(stage) == "completed"


def test_a_cancelled_run_is_cancelled_whatever_it_shows(hands: Hands) -> None:
    stage = watched(hands, "step(1, a=1); time.sleep(60)")
    hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    cancel.cancel_stage(stage.pk, user=builders.person())
    with open(Stream.objects.get(pk=stage.pk).segments.get().path, "a") as file:
        file.write('{"v": 1, "step": 2, "time": 1, "metrics": {"loss": "NaN"}}\n')
    assert hands.until(stage) == "cancelled"


def test_a_finding_of_an_earlier_attempt_does_not_stop_the_next(hands: Hands) -> None:
    stage = watched(hands, WAITS)
    hands.launch(stage)
    hands.until(stage)
    params = {"script": "step(1, loss=1); step(2, loss=1)", "grace": 1.0}
    type(stage).objects.filter(pk=stage.pk).update(params=params)
    stage.refresh_from_db()
    control.retry_stage(stage, user=builders.person())
    hands.wait(lambda: hands.attempt(stage).number == 2)
    hands.launch(stage)
    assert hands.until(stage) == "completed"


def test_figures_that_no_number_can_tell_keep_no_run_from_being_cancelled(hands: Hands) -> None:
    script = """
for n in range(1, 31):
    step(n, **{"critic/grad_norm": 1e-310})
step(31, **{"critic/grad_norm": 1.0})
time.sleep(60)
"""
    stage = watched(hands, script)
    hands.launch(stage)
    hands.wait(lambda: Stream.objects.filter(pk=stage.pk, last_step=31).exists())
    cancel.cancel_stage(stage.pk, user=builders.person())
    assert hands.until(stage) == "cancelled"
