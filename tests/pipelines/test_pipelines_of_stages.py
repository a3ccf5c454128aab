"""Graphs of stages: made whole or refused whole; started, paused, retried; nothing is ever left hanging."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from environments.models import Host
from pipelines.api.shapes import PipelineShape
from pipelines.models import Attempt, Pipeline, Stage
from pipelines.services import dispatch, inline, launch
from pipelines.services.control import (
    pause_pipeline,
    resume_pipeline,
    retry_pipeline,
    retry_stage,
    start_pipeline,
)
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.states import StageStatus
from platform_site.common.errors import Conflict, Invalid
from tests.people import program

from . import builders
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)


def noop(name: str, *needs: str, result: Any = None, **fields: Any) -> StageSpec:
    return StageSpec(name, "noop", {"result": result or {}}, tuple(needs), **fields)


def made(*stages: StageSpec, start: bool = True, **fields: Any) -> Pipeline:
    spec = PipelineSpec(name="graph", stages=stages, **fields)
    return create_pipeline(user=builders.person(), spec=spec, start=start)


def work(pipeline: Pipeline) -> list[str]:
    """Be dispatcher and worker until nothing is left to start; names in the order they were launched."""
    ran: dict[Any, str] = {}
    while True:
        dispatch.dispatch()
        starting = Attempt.objects.filter(stage__status=StageStatus.STARTING, outcome="").select_related("stage")
        fresh = [attempt for attempt in starting if attempt.id not in ran]
        if not fresh:
            break
        for attempt in fresh:
            launch.launch(attempt.id)
            ran[attempt.id] = attempt.stage.name
    pipeline.refresh_from_db()
    return list(ran.values())


def statuses(pipeline: Pipeline) -> dict[str, str]:
    return dict(Stage.objects.filter(pipeline=pipeline).values_list("name", "status"))


def test_stages_run_after_what_they_need_and_the_pipeline_completes(machine: Host) -> None:
    pipeline = made(noop("end", "left", "right"), noop("left", "begin"), noop("right", "begin"), noop("begin"))
    ran = work(pipeline)
    assert ran[0] == "begin"
    assert ran[-1] == "end"
    assert pipeline.status == "completed"
    assert pipeline.completed_at is not None


def test_a_result_reaches_the_stages_below(machine: Host) -> None:
    pipeline = made(noop("a", result={"rows": 7}), noop("b", "a", result={"seen": "{{ stages.a.result.rows }}"}))
    work(pipeline)
    assert Stage.objects.get(pipeline=pipeline, name="b").result == {"seen": 7}


def test_a_reference_that_leads_nowhere_fails_the_stage_with_what_there_is(machine: Host) -> None:
    pipeline = made(noop("a", result={"rows": 7}), noop("b", "a", result={"seen": "{{ stages.a.result.lines }}"}))
    work(pipeline)
    assert pipeline.status == "failed"
    assert pipeline.error_message == "Stage b failed: stages.a.result.lines: not there. Its result has: rows."


@pytest.mark.parametrize(
    ("stages", "field", "says"),
    [
        ([], "stages", "at least one"),
        ([noop("a"), noop("a")], "stages.1.name", "Another stage has this name"),
        ([noop("a", "b")], "stages.0.depends_on", "There is no stage b"),
        ([noop("a", "a")], "stages.0.depends_on", "itself"),
        ([noop("a", "b"), noop("b", "a")], "stages.0.depends_on", "wait for each other"),
        ([noop("A b")], "stages.0.name", "Small letters"),
        ([StageSpec("a", "no-such")], "stages.0.task", "noop"),
        ([noop("a", queue="fast")], "stages.0.queue", "training"),
        ([StageSpec("a", "noop", {"speed": 1})], "stages.0.params.speed", "`result` alone"),
        ([StageSpec("a", "train_model")], "stages.0.params.recipe", "unknown"),
        ([noop("a", result={"x": "{{ 1 + 1 }}"})], "stages.0.params.result.x", "double braces"),
        ([noop("a"), noop("b", result={"x": "{{ stages.a.result.y }}"})], "stages.1.params.result.x", "depends on"),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused_whole(
    machine: Host, stages: list[StageSpec], field: str, says: str
) -> None:
    with pytest.raises(Invalid) as refused:
        made(*stages)
    assert says in " ".join(refused.value.fields[field])
    assert Pipeline.objects.count() == 0


def test_a_failed_stage_skips_what_needs_it_and_other_branches_finish(hands: Hands) -> None:
    pipeline = made(
        StageSpec("breaks", "script", {"script": "raise SystemExit(1)"}),
        noop("after", "breaks"),
        noop("far-after", "after"),
        noop("beside"),
    )
    work(pipeline)
    hands.until(Stage.objects.get(pipeline=pipeline, name="breaks"))
    work(pipeline)
    assert statuses(pipeline) == {"breaks": "failed", "after": "skipped", "far-after": "skipped", "beside": "completed"}
    assert pipeline.status == "failed"
    assert pipeline.completed_at is not None


def test_a_retry_runs_what_failed_and_was_skipped_and_keeps_what_completed(hands: Hands) -> None:
    pipeline = made(
        noop("before"),
        StageSpec("breaks", "script", {"script": "raise SystemExit(1)"}, ("before",)),
        noop("after", "breaks"),
    )
    work(pipeline)
    breaks = Stage.objects.get(pipeline=pipeline, name="breaks")
    hands.until(breaks)

    retry_stage(breaks, user=builders.person(), params={"script": "pass"})
    ran = work(pipeline)
    hands.until(breaks)
    ran += work(pipeline)

    assert ran == ["breaks", "after"]
    assert statuses(pipeline) == dict.fromkeys(("before", "breaks", "after"), "completed")
    assert pipeline.status == "completed"
    assert pipeline.error_message == ""
    assert Attempt.objects.filter(stage=breaks).count() == 2


def test_a_duration_leaves_out_the_time_between_an_end_and_the_retry_by_hand(hands: Hands) -> None:
    pipeline = made(StageSpec("breaks", "script", {"script": "raise SystemExit(1)"}))
    work(pipeline)
    breaks = Stage.objects.get(pipeline=pipeline, name="breaks")
    hands.until(breaks)
    now = timezone.now()
    hours = {"started_at": now - timedelta(hours=5), "completed_at": now - timedelta(hours=4)}
    Pipeline.objects.filter(pk=pipeline.pk).update(**hours)

    retry_stage(breaks, user=builders.person(), params={"script": "pass"})
    work(pipeline)
    hands.until(breaks)

    pipeline.refresh_from_db()
    assert (pipeline.status, pipeline.started_at) == ("completed", hours["started_at"])
    assert 3600 <= PipelineShape(pipeline).data["duration_s"] < 3660


def test_a_pipeline_tries_again_by_itself_as_often_as_it_may(hands: Hands) -> None:
    pipeline = made(
        StageSpec("breaks", "script", {"script": "raise SystemExit(1)"}), noop("after", "breaks"), max_retries=2
    )
    breaks = Stage.objects.get(pipeline=pipeline, name="breaks")
    for again in (1, 2, 3):
        work(pipeline)
        hands.wait(Attempt.objects.filter(stage=breaks, number=again).exclude(outcome="").exists)
    work(pipeline)
    assert (pipeline.status, pipeline.retry_count) == ("failed", 2)
    assert Attempt.objects.filter(stage=breaks).count() == 3


def test_a_paused_pipeline_starts_nothing_new_until_it_is_resumed(machine: Host) -> None:
    pipeline = made(noop("a"), noop("b", "a"))
    user = builders.person()
    pause_pipeline(pipeline.id, user=user)
    assert work(pipeline) == []
    resume_pipeline(pipeline.id, user=user)
    assert work(pipeline) == ["a", "b"]
    assert pipeline.status == "completed"


def test_moves_that_the_status_does_not_allow_are_refused(machine: Host) -> None:
    user = builders.person()
    pipeline = made(noop("a"), start=False)
    with pytest.raises(Conflict, match="pending"):
        pause_pipeline(pipeline.id, user=user)
    start_pipeline(pipeline.id, user=user)
    for move in (start_pipeline, resume_pipeline, retry_pipeline):
        with pytest.raises(Conflict, match="running"):
            move(pipeline.id, user=user)
    work(pipeline)
    with pytest.raises(Conflict, match="completed"):
        retry_pipeline(pipeline.id, user=user)


def test_a_worker_that_died_in_a_short_stage_is_noticed_and_the_stage_done_again(hands: Hands) -> None:
    pipeline = made(noop("a"))
    stage = Stage.objects.get(pipeline=pipeline)
    dispatch.dispatch()
    attempt = hands.attempt(stage)
    # What run_inline does first, and then nothing: the worker is gone.
    from_worker = {"status": StageStatus.RUNNING}
    Stage.objects.filter(pk=stage.pk).update(**from_worker)

    attempt.refresh_from_db()
    attempt.stage.refresh_from_db()
    inline.observe(attempt)

    assert hands.status(stage) == "queued"
    Stage.objects.filter(pk=stage.pk).update(not_before=None)
    work(pipeline)
    assert pipeline.status == "completed"
    assert list(Attempt.objects.filter(stage=stage).values_list("outcome", flat=True)) == ["lost", "succeeded"]


def test_fifty_deliveries_of_a_short_stage_run_it_once(hands: Hands) -> None:
    pipeline = made(noop("a"))
    dispatch.dispatch()
    attempt = hands.attempt(Stage.objects.get(pipeline=pipeline))
    assert [launch.launch(attempt.id) for _delivery in range(50)].count(True) == 1


def test_over_the_api(machine: Host) -> None:
    client: APIClient = program(builders.person(), "operate")
    body = {
        "name": "by program",
        "priority": 7,
        "stages": [
            {"name": "a", "task": "noop", "params": {"result": {"x": 1}}},
            {"name": "b", "task": "noop", "depends_on": ["a"], "timeout_s": 60, "max_retries": 1},
        ],
    }
    answer = client.post("/api/v1/pipelines/", body, format="json")
    assert answer.status_code == 201, answer.content
    made_one = answer.json()
    assert (made_one["status"], made_one["priority"], made_one["stages_total"]) == ("pending", 7, 2)
    assert [stage["depends_on"] for stage in made_one["stages"]] == [[], ["a"]]
    path = f"/api/v1/pipelines/{made_one['uuid']}"

    assert client.post(f"{path}/start/").status_code == 202
    assert client.post(f"{path}/start/").status_code == 409
    assert client.delete(f"{path}/").status_code == 409
    pipeline = Pipeline.objects.get(pk=made_one["uuid"])
    work(pipeline)
    told = client.get(f"{path}/status/").json()
    assert (told["status"], told["progress"], told["stages_completed"]) == ("completed", 1.0, 2)
    assert client.post(f"{path}/retry/").status_code == 409
    assert client.post(f"{path}/stages/a/retry/").status_code == 409
    assert client.delete(f"{path}/").status_code == 204
    assert client.get(f"{path}/").status_code == 404


def test_a_bad_graph_over_the_api_names_its_field(machine: Host) -> None:
    client = program(builders.person(), "operate")
    body = {
        "name": "x",
        "stages": [
            {"name": "a", "task": "noop", "depends_on": ["b"]},
            {"name": "b", "task": "noop", "depends_on": ["a"]},
        ],
    }
    answer = client.post("/api/v1/pipelines/", body, format="json")
    assert answer.status_code == 422
    assert "wait for each other" in answer.json()["error"]["fields"]["stages.0.depends_on"][0]
