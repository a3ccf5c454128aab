"""Whoever cancels a pipeline wants its end: of all stages, at once where nothing runs, and for good."""

from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from environments.models import Host
from pipelines.models import Attempt, Pipeline, Stage, Transition
from pipelines.services import dispatch, launch
from pipelines.services.cancel import cancel_pipeline
from pipelines.services.control import retry_pipeline
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.states import PipelineStatus, StageStatus
from platform_site.common.errors import Conflict
from platform_site.common.models import AuditEvent

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


ENDS_WELL = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(60)"


def test_a_failed_stage_is_not_tried_again_when_the_last_one_ended_well_before_it_was_cancelled(hands: Hands) -> None:
    pipeline = broken(StageSpec("t", "script", {"script": ENDS_WELL}))
    runs = Stage.objects.get(pipeline=pipeline, name="t")
    launch.launch(hands.attempt(runs).id)
    hands.until(runs, StageStatus.RUNNING)

    cancel_pipeline(pipeline.pk, user=builders.person())
    assert hands.until(runs) == "completed"

    pipeline.refresh_from_db()
    assert (pipeline.status, pipeline.retry_count) == (PipelineStatus.FAILED, 0)
    assert statuses(pipeline) == {"a": "completed", "f": "failed", "t": "completed"}
    assert not Attempt.objects.filter(stage__pipeline=pipeline, outcome="").exists()


def test_whoever_retries_a_cancelled_pipeline_gives_it_its_own_retries_back(hands: Hands) -> None:
    Host.objects.update(slots=0)
    pipeline = broken(StageSpec("t", "script", {"script": "pass"}))
    cancel_pipeline(pipeline.pk, user=builders.person())

    retry_pipeline(pipeline.pk, user=builders.person())
    work(pipeline)
    Host.objects.update(slots=1)
    last = Stage.objects.get(pipeline=pipeline, name="t")
    hands.launch(last)
    hands.until(last)
    work(pipeline)

    pipeline.refresh_from_db()
    assert (pipeline.status, pipeline.retry_count) == (PipelineStatus.FAILED, 3)


def chain(count: int, *, start: bool) -> Pipeline:
    """Two stages that need nothing, and the others below the first of them."""
    stages = [StageSpec("first", "noop"), StageSpec("beside", "noop")]
    stages += [StageSpec(f"s{at}", "noop", {}, ("first",)) for at in range(count - 2)]
    return create_pipeline(user=builders.person(), spec=PipelineSpec(name="many", stages=stages), start=start)


@pytest.mark.parametrize("start", [True, False], ids=["started", "never started"])
def test_three_hundred_waiting_stages_end_together(machine: Host, start: bool) -> None:
    pipeline = chain(300, start=start)
    before = dict(Stage.objects.filter(pipeline=pipeline).values_list("pk", "status"))
    assert Counter(before.values()) == ({"queued": 2, "pending": 298} if start else {"pending": 300})

    with CaptureQueriesContext(connection) as asked:
        cancel_pipeline(pipeline.pk, user=builders.person())

    assert len(asked) < 40
    pipeline.refresh_from_db()
    assert pipeline.status == PipelineStatus.CANCELLED
    assert pipeline.completed_at is not None
    assert set(statuses(pipeline).values()) == {"cancelled"}
    assert not Stage.objects.filter(pipeline=pipeline, completed_at=None).exists()
    moved = Transition.objects.filter(pipeline=pipeline, to_status="cancelled")
    of_stages = moved.exclude(stage=None).values_list("stage", "from_status", "actor")
    assert sorted(of_stages) == sorted((stage, status, "bob") for stage, status in before.items())
    assert moved.filter(stage=None).count() == 1
    outcomes = Attempt.objects.filter(stage__pipeline=pipeline, completed_at__isnull=False).values_list("outcome")
    assert list(outcomes) == [("cancelled",)] * (2 if start else 0)
    assert AuditEvent.objects.filter(action="pipeline.cancel").count() == 1
    with pytest.raises(Conflict, match="cancelled"):
        cancel_pipeline(pipeline.pk, user=builders.person())


def test_what_runs_is_asked_to_end_and_the_pipeline_ends_with_it(hands: Hands) -> None:
    Host.objects.update(slots=1)
    stages = [
        StageSpec("t", "script", {"script": "import time; time.sleep(60)"}),
        StageSpec("waits", "script", {"script": "pass"}, ("a",)),
        StageSpec("below", "noop", {}, ("t",)),
        StageSpec("a", "noop"),
    ]
    pipeline = create_pipeline(user=builders.person(), spec=PipelineSpec(name="graph", stages=stages), start=True)
    runs = Stage.objects.get(pipeline=pipeline, name="t")
    dispatch.dispatch()
    launch.launch(hands.attempt(runs).id)
    work(pipeline)
    hands.until(runs, StageStatus.RUNNING)
    assert statuses(pipeline) == {"t": "running", "waits": "queued", "below": "pending", "a": "completed"}

    cancel_pipeline(pipeline.pk, user=builders.person())
    pipeline.refresh_from_db()
    assert pipeline.status == PipelineStatus.RUNNING
    ended = {"waits": "cancelled", "below": "cancelled", "a": "completed"}
    assert statuses(pipeline) == {"t": "cancelling", **ended}
    cancel_pipeline(pipeline.pk, user=builders.person())  # to ask twice is no mistake

    hands.until(runs)
    pipeline.refresh_from_db()
    assert pipeline.status == PipelineStatus.CANCELLED
    assert statuses(pipeline) == {"t": "cancelled", **ended}
