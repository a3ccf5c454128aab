"""Every pair of status and event: allowed moves take and leave an audit row, all others change nothing."""

import threading
from typing import Any

import pytest
from django.db import connection

from pipelines.models import Attempt, Transition
from pipelines.states import PIPELINE_MOVES, STAGE_MOVES, PipelineEvent, PipelineStatus, StageEvent, StageStatus
from pipelines.transitions import move_pipeline, move_stage

from . import builders


@pytest.mark.django_db
@pytest.mark.parametrize("event", StageEvent)
@pytest.mark.parametrize("status", StageStatus)
def test_a_stage_moves_only_where_its_table_says(status: StageStatus, event: StageEvent) -> None:
    stage = builders.stage(status)
    allowed = status in STAGE_MOVES[event].sources

    moved = move_stage(stage.id, event, actor="test", reason="because")

    stage.refresh_from_db()
    rows = list(Transition.objects.filter(stage=stage))
    assert moved is allowed
    if allowed:
        assert stage.status == STAGE_MOVES[event].target
        assert [(row.from_status, row.to_status, row.reason, row.actor) for row in rows] == [
            (status.value, stage.status, "because", "test")
        ]
    else:
        assert (stage.status, rows) == (status.value, [])


@pytest.mark.django_db
@pytest.mark.parametrize("event", PipelineEvent)
@pytest.mark.parametrize("status", PipelineStatus)
def test_a_pipeline_moves_only_where_its_table_says(status: PipelineStatus, event: PipelineEvent) -> None:
    pipeline = builders.pipeline(status)
    allowed = status in PIPELINE_MOVES[event].sources

    moved = move_pipeline(pipeline.id, event, actor="test")

    pipeline.refresh_from_db()
    assert moved is allowed
    assert pipeline.status == (PIPELINE_MOVES[event].target if allowed else status)
    assert Transition.objects.filter(pipeline=pipeline).count() == int(allowed)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("event", "terminal"),
    [(StageEvent.COMPLETE, True), (StageEvent.FAIL, True), (StageEvent.REQUEUE, False)],
)
def test_a_terminal_status_has_its_end_time_and_others_have_none(event: StageEvent, terminal: bool) -> None:
    stage = builders.stage(StageStatus.RUNNING)
    move_stage(stage.id, event, actor="test")
    stage.refresh_from_db()
    assert (stage.completed_at is not None) is terminal


@pytest.mark.django_db
def test_a_move_for_an_attempt_that_is_over_is_refused() -> None:
    stage = builders.stage(StageStatus.RUNNING)
    Attempt.objects.filter(stage=stage).update(outcome="lost")
    Attempt.objects.create(stage=stage, number=2, launch_token="x")

    assert not move_stage(stage.id, StageEvent.FAIL, actor="a reconciler that slept", attempt=1)
    assert move_stage(stage.id, StageEvent.FAIL, actor="test", attempt=2)


@pytest.mark.django_db
def test_a_move_is_refused_when_the_status_is_not_the_one_named() -> None:
    stage = builders.stage(StageStatus.QUEUED)
    assert not move_stage(stage.id, StageEvent.CANCEL, actor="test", only_from=StageStatus.PENDING)


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_exactly_one_moves_a_stage() -> None:
    stage = builders.stage(StageStatus.RUNNING)
    events = [StageEvent.COMPLETE, StageEvent.FAIL, StageEvent.REQUEST_CANCEL] * 3
    took: list[StageEvent] = []
    begin = threading.Barrier(len(events))

    def move(event: StageEvent) -> None:
        try:
            begin.wait()
            if move_stage(stage.id, event, actor="racer", attempt=1):
                took.append(event)
        finally:
            connection.close()

    threads: list[Any] = [threading.Thread(target=move, args=(event,)) for event in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # A requested cancel may still be completed: what ended first, counts. Nothing else follows anything.
    assert took in (
        [StageEvent.COMPLETE],
        [StageEvent.FAIL],
        [StageEvent.REQUEST_CANCEL],
        [StageEvent.REQUEST_CANCEL, StageEvent.COMPLETE],
    )
    stage.refresh_from_db()
    assert stage.status == STAGE_MOVES[took[-1]].target
    assert Transition.objects.filter(stage=stage).count() == len(took)
