"""Whoever cancels a pipeline wants its end: of all stages, at once where nothing runs, and for good."""

import pytest

from environments.models import Host
from pipelines.models import Attempt, Pipeline, Stage, Transition
from pipelines.services import dispatch, launch
from pipelines.services.cancel import cancel_pipeline
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.states import PipelineStatus, StageStatus

from . import builders
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)

NOWHERE = {"result": {"seen": "{{ stages.a.result.rows }}"}}


def work(pipeline: Pipeline) -> None:
    """What can start without a run on a host, starts and ends."""
    dispatch.dispatch()
    short = Attempt.objects.filter(stage__pipeline=pipeline, stage__kind="noop", stage__status=StageStatus.STARTING)
    while (attempt := short.filter(outcome="").first()) is not None:
        launch.launch(attempt.id)
        dispatch.dispatch()


def statuses(pipeline: Pipeline) -> dict[str, str]:
    return dict(Stage.objects.filter(pipeline=pipeline).values_list("name", "status"))


def broken(*more: StageSpec) -> Pipeline:
    """A pipeline that would try again three times, whose stage `f` has failed."""
    stages = [StageSpec("a", "noop", {"result": {}}), StageSpec("f", "noop", NOWHERE, ("a",)), *more]
    spec = PipelineSpec(name="graph", stages=stages, max_retries=3)
    pipeline = create_pipeline(user=builders.person(), spec=spec, start=True)
    work(pipeline)
    assert statuses(pipeline)["f"] == "failed"
    return pipeline


def assert_ended_for_good(pipeline: Pipeline) -> None:
    pipeline.refresh_from_db()
    assert (pipeline.status, pipeline.retry_count) == (PipelineStatus.FAILED, 0)
    assert statuses(pipeline) == {"a": "completed", "f": "failed", "t": "cancelled"}
    assert not Transition.objects.filter(pipeline=pipeline, to_status=StageStatus.PENDING).exists()
    assert not Attempt.objects.filter(stage__pipeline=pipeline, outcome="").exists()


def test_a_failed_stage_is_not_tried_again_once_a_queued_one_is_cancelled(machine: Host) -> None:
    Host.objects.update(slots=0)
    pipeline = broken(StageSpec("t", "script", {"script": "pass"}))
    assert statuses(pipeline)["t"] == "queued"

    cancel_pipeline(pipeline.pk, user=builders.person())

    assert_ended_for_good(pipeline)


def test_a_failed_stage_is_not_tried_again_once_a_running_one_is_cancelled(hands: Hands) -> None:
    pipeline = broken(StageSpec("t", "script", {"script": "import time; time.sleep(60)"}))
    runs = Stage.objects.get(pipeline=pipeline, name="t")
    launch.launch(hands.attempt(runs).id)
    hands.until(runs, StageStatus.RUNNING)

    cancel_pipeline(pipeline.pk, user=builders.person())
    hands.until(runs)

    assert_ended_for_good(pipeline)
