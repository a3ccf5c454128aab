"""Bring a pipeline forward: queue what became ready, skip what never will, end it when all stages have ended."""

import secrets
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from pipelines.models import Attempt, Pipeline, Stage
from pipelines.states import (
    PIPELINE_TERMINAL,
    STAGE_TERMINAL,
    PipelineEvent,
    PipelineStatus,
    StageEvent,
    StageStatus,
)
from pipelines.transitions import move_pipeline, move_stage

_DEAD_ENDS = frozenset({StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED})


def new_attempt(stage_id: UUID) -> Attempt:
    """The next try at a stage. Its id is the task id that the queue carries."""
    last = Attempt.objects.filter(stage_id=stage_id).aggregate(last=Max("number"))["last"] or 0
    return Attempt.objects.create(stage_id=stage_id, number=last + 1, launch_token=secrets.token_hex(16))


def advance(pipeline_id: UUID, *, actor: str = "platform") -> None:
    """Level-triggered: looks at the stages as they stand, so calling it once more changes nothing."""
    with transaction.atomic():
        pipeline = Pipeline.objects.select_for_update().get(pk=pipeline_id)
        if pipeline.status in PIPELINE_TERMINAL or pipeline.status == PipelineStatus.PENDING:
            return
        stages = list(Stage.objects.filter(pipeline=pipeline).prefetch_related("depends_on").order_by("order"))
        status = {stage.id: StageStatus(stage.status) for stage in stages}
        needs = {stage.id: [above.id for above in stage.depends_on.all()] for stage in stages}
        moved = True
        while moved:
            moved = False
            for stage in stages:
                if status[stage.id] is not StageStatus.PENDING:
                    continue
                above = [status[need] for need in needs[stage.id]]
                if any(found in _DEAD_ENDS for found in above):
                    if move_stage(stage.id, StageEvent.SKIP, actor=actor, reason="a stage it needs did not complete"):
                        status[stage.id], moved = StageStatus.SKIPPED, True
                elif (
                    pipeline.status == PipelineStatus.RUNNING
                    and all(found is StageStatus.COMPLETED for found in above)
                    and move_stage(stage.id, StageEvent.ENQUEUE, actor=actor)
                ):
                    new_attempt(stage.id)
                    status[stage.id], moved = StageStatus.QUEUED, True
        if all(found in STAGE_TERMINAL for found in status.values()):
            _end(pipeline, stages, status, actor)


def _end(pipeline: Pipeline, stages: list[Stage], status: dict[UUID, StageStatus], actor: str) -> None:
    ended = Stage.objects.filter(pipeline=pipeline).aggregate(last=Max("completed_at"))["last"]
    failed = next((stage for stage in stages if status[stage.id] is StageStatus.FAILED), None)
    if failed is not None and pipeline.retry_count < pipeline.max_retries:
        _try_again(pipeline, stages, status)
    elif failed is not None:
        message = f"Stage {failed.name} failed: {failed.error_message}"
        move_pipeline(
            pipeline.id,
            PipelineEvent.FAIL,
            actor=actor,
            reason=message,
            error_message=message,
            completed_at=ended,
        )
    elif StageStatus.CANCELLED in status.values():
        move_pipeline(pipeline.id, PipelineEvent.CANCEL, actor=actor, completed_at=ended)
    else:
        move_pipeline(pipeline.id, PipelineEvent.COMPLETE, actor=actor, completed_at=ended)


def _try_again(pipeline: Pipeline, stages: list[Stage], status: dict[UUID, StageStatus]) -> None:
    """The pipeline's own retry: from the failed stages on, keeping what completed."""
    count = pipeline.retry_count + 1
    Pipeline.objects.filter(pk=pipeline.pk).update(retry_count=count)
    for stage in stages:
        if status[stage.id] in (StageStatus.FAILED, StageStatus.SKIPPED):
            move_stage(stage.id, StageEvent.REOPEN, actor="platform", reason=f"retry {count} of {pipeline.max_retries}")
    advance(pipeline.pk)
