"""A worker takes several instant stages at once. Each starts once, within the slots, and ends on its own merits."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from environments.models import Host
from pipelines.kinds import InlineKind, Verdict, registry
from pipelines.models import Attempt, Pipeline, Queue, Stage, Transition
from pipelines.services import cancel, dispatch, finish, launch
from pipelines.services.advance import advance
from pipelines.states import STAGE_ACTIVE, Outcome, PipelineEvent, PipelineStatus
from pipelines.transitions import move_pipeline
from platform_site.common.models import User

from . import builders

pytestmark = pytest.mark.django_db(transaction=True)

SLOTS = 4


class MeddlingKind(InlineKind):
    """Does to another stage of its pipeline what `params` say, while both are in one worker's hands."""

    name = "meddling"
    queue = "default"
    instant = True

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        return {}

    def run(self, stage: Stage, params: dict[str, Any]) -> Verdict:
        if "raise" in params:
            raise RuntimeError("nobody foresaw this")
        if "away" in params:
            raise OperationalError("gone")
        if "fail" in params:
            return Verdict(False, "it was to fail")
        if "cancel" in params:
            cancel.cancel_stage(other(stage, params["cancel"]).pk, user=builders.person())
        if "lose" in params:
            lost = Attempt.objects.select_related("stage").get(stage=other(stage, params["lose"]), outcome="")
            finish.requeue(lost, Outcome.LOST, Verdict(False, "lost"), {}, delay=timedelta(hours=1))
        return Verdict(True, result={"of": stage.name, **params})

    def settle(self, stage: Stage, attempt: Attempt, verdict: Verdict) -> None:
        if "unkept" in verdict.result:
            raise ValueError("no room for this")


registry.register(MeddlingKind())


def other(stage: Stage, name: str) -> Stage:
    found: Stage = Stage.objects.get(pipeline=stage.pipeline_id, name=name)
    return found


@pytest.fixture
def run(machine: Host) -> Any:
    """Start a pipeline of such stages, name -> params, and do what the worker would with the first one's message."""
    Queue.objects.filter(pk="default").update(slots=SLOTS)

    def started(stages: dict[str, dict[str, Any]], kind: str = "meddling", **fields: Any) -> Pipeline:
        pipeline = builders.pipeline(PipelineStatus.PENDING)
        for order, (name, params) in enumerate(stages.items()):
            Stage.objects.create(
                pipeline=pipeline, name=name, kind=kind, queue="default", params=params, order=order, **fields
            )
        move_pipeline(pipeline.pk, PipelineEvent.START, actor="test")
        advance(pipeline.pk)
        dispatch.dispatch()
        sent = Attempt.objects.filter(stage__status="starting").earliest("stage__order")
        assert launch.launch(sent.pk, worker="one")
        return pipeline

    return started


def statuses(pipeline: Pipeline) -> dict[str, str]:
    return dict(Stage.objects.filter(pipeline=pipeline).values_list("name", "status"))


def test_all_end_in_one_turn_after_another_and_never_more_run_than_there_are_slots(run: Any) -> None:
    names = [f"s{number}" for number in range(11)]

    pipeline = run({name: {"result": {"value": name}} for name in names}, kind="noop")

    pipeline.refresh_from_db()
    assert pipeline.status == "completed"
    assert dict(Stage.objects.values_list("name", "result")) == {name: {"value": name} for name in names}
    assert list(Attempt.objects.values_list("number", "outcome", "worker")) == [(1, "succeeded", "one")] * 11
    active: set[Any] = set()
    most = 0
    for move in Transition.objects.filter(stage__isnull=False).order_by("id"):
        (active.add if move.to_status in STAGE_ACTIVE else active.discard)(move.stage_id)
        most = max(most, len(active))
    assert most == SLOTS


def test_the_messages_of_the_others_find_them_taken(run: Any) -> None:
    pipeline = run({"a": {}, "b": {}, "c": {}})
    moves = Transition.objects.count()

    assert [launch.launch(attempt.pk, worker="two") for attempt in Attempt.objects.all()] == [False] * 3

    assert Transition.objects.count() == moves
    assert statuses(pipeline) == dict.fromkeys("abc", "completed")


def test_one_that_breaks_takes_nobody_with_it(run: Any) -> None:
    pipeline = run({"a": {}, "b": {"raise": True}, "c": {"fail": True}, "d": {}})

    assert statuses(pipeline) == {"a": "completed", "b": "failed", "c": "failed", "d": "completed"}


def test_one_that_breaks_says_how_and_is_tried_again_as_often_as_it_may(run: Any) -> None:
    pipeline = run({"a": {"raise": True}}, max_retries=1)

    assert statuses(pipeline) == {"a": "queued"}
    Stage.objects.filter(pipeline=pipeline).update(not_before=None)
    dispatch.dispatch()
    assert launch.launch(Attempt.objects.get(outcome="").pk, worker="one")

    stage = Stage.objects.get(pipeline=pipeline)
    assert (stage.status, stage.error_message) == (
        "failed",
        "It broke in its worker: RuntimeError: nobody foresaw this",
    )
    assert list(Attempt.objects.values_list("outcome", "reason")) == [("failed", stage.error_message)] * 2


def test_one_whose_result_cannot_be_kept_says_so_and_takes_nobody_with_it(run: Any) -> None:
    pipeline = run({"a": {}, "b": {"unkept": True}, "c": {}})

    assert statuses(pipeline) == {"a": "completed", "b": "failed", "c": "completed"}
    assert "no room for this" in Stage.objects.get(pipeline=pipeline, name="b").error_message


def test_one_that_finds_no_database_is_left_to_its_lease_and_done_again(run: Any) -> None:
    pipeline = run({"a": {"away": True}})

    assert statuses(pipeline) == {"a": "running"}
    assert Attempt.objects.get().outcome == ""


def test_one_that_is_cancelled_meanwhile_has_ended_first(run: Any) -> None:
    pipeline = run({"a": {"cancel": "b"}, "b": {}, "c": {}})

    assert statuses(pipeline) == dict.fromkeys("abc", "completed")
    assert Transition.objects.filter(stage__name="b", to_status="cancelling").exists()


def test_one_that_was_found_lost_is_not_ended_by_the_worker_that_lost_it(run: Any) -> None:
    pipeline = run({"a": {"lose": "b"}, "b": {}, "c": {}})

    assert statuses(pipeline) == {"a": "completed", "b": "queued", "c": "completed"}
    assert list(Attempt.objects.filter(stage__name="b").values_list("number", "outcome")) == [(1, "lost"), (2, "")]
