"""The one place where a status changes.

Each move is a guarded UPDATE: it names the statuses it may come from, and the attempt it speaks for. A count
other than one means that somebody else moved first; the caller is told and does nothing. Each move that took
leaves a Transition row and a push to open pages, in the same transaction.
"""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from platform_site.common import live

from .models import Pipeline, Stage, Transition
from .states import (
    PIPELINE_MOVES,
    PIPELINE_TERMINAL,
    STAGE_MOVES,
    STAGE_TERMINAL,
    PipelineEvent,
    PipelineStatus,
    StageEvent,
    StageStatus,
)


def move_stage(
    stage_id: UUID,
    event: StageEvent,
    *,
    actor: str,
    reason: str = "",
    attempt: int | None = None,
    only_from: StageStatus | None = None,
    **fields: Any,
) -> bool:
    """Apply `event` to a stage; False when its status, or its attempt, does not allow it (any more).

    `attempt` fences: the move counts only while that attempt is the stage's open one, so that a reconciler
    that was paused, or a worker that was frozen, cannot act for an attempt that is over.
    `fields` are further columns of the stage to set with the move.
    """
    move = STAGE_MOVES[event]
    now = timezone.now()
    with transaction.atomic():
        # The pipeline's row first, always: whoever moves stages of one pipeline waits here, and nobody deadlocks.
        Pipeline.objects.select_for_update().filter(stages=stage_id).values_list("pk").first()
        stages = Stage.objects.filter(pk=stage_id)
        before = stages.select_for_update().values("status", "pipeline_id", "started_at").first()
        if before is None or before["status"] not in move.sources:
            return False
        if only_from is not None and before["status"] != only_from:
            return False
        guarded = stages.filter(status=before["status"])
        if attempt is not None:
            guarded = guarded.filter(attempts__number=attempt, attempts__outcome="")
        changes: dict[str, Any] = {
            "waiting_for": "",
            **fields,
            "changed_at": now,
            "version": F("version") + 1,
        }
        if event is StageEvent.ENQUEUE or event is StageEvent.REQUEUE:
            changes.setdefault("queued_at", now)
        if event is StageEvent.START:
            changes.setdefault("started_at", before["started_at"] or now)
        if event is StageEvent.REOPEN:
            changes |= {"started_at": None, "completed_at": None, "error_message": "", "result": None}
        if move.target in STAGE_TERMINAL:
            changes.setdefault("completed_at", now)
        # The subquery keeps the UPDATE to one table, with the fence inside it.
        if (
            Stage.objects.filter(pk__in=guarded.values("pk"), status=before["status"]).update(
                status=move.target, **changes
            )
            != 1
        ):
            return False
        Transition.objects.create(
            pipeline_id=before["pipeline_id"],
            stage_id=stage_id,
            attempt=attempt,
            from_status=before["status"],
            to_status=move.target,
            reason=reason,
            actor=actor,
        )
        touch_pipeline(before["pipeline_id"])
        live.push_on_commit(f"stage.{stage_id}", stage=str(stage_id))
    return True


def move_pipeline(pipeline_id: UUID, event: PipelineEvent, *, actor: str, reason: str = "", **fields: Any) -> bool:
    """Apply `event` to a pipeline; False when its status does not allow it (any more)."""
    move = PIPELINE_MOVES[event]
    now = timezone.now()
    with transaction.atomic():
        pipelines = Pipeline.objects.filter(pk=pipeline_id)
        before = pipelines.select_for_update().values("status", "started_at").first()
        if before is None or before["status"] not in move.sources:
            return False
        changes: dict[str, Any] = {**fields, "version": F("version") + 1}
        if move.target is PipelineStatus.RUNNING and before["started_at"] is None:
            changes.setdefault("started_at", now)
        if event is PipelineEvent.REOPEN:
            changes |= {"completed_at": None, "error_message": ""}
        if move.target in PIPELINE_TERMINAL:
            changes.setdefault("completed_at", now)
        if pipelines.filter(status=before["status"]).update(status=move.target, **changes) != 1:
            return False
        Transition.objects.create(
            pipeline_id=pipeline_id,
            from_status=before["status"],
            to_status=move.target,
            reason=reason,
            actor=actor,
        )
        live.push_on_commit(f"pipeline.{pipeline_id}", pipeline=str(pipeline_id))
        live.push_on_commit("pipelines", pipeline=str(pipeline_id))
    return True


def touch_pipeline(pipeline_id: UUID) -> None:
    """Something below the pipeline changed: open pages of it should look again."""
    Pipeline.objects.filter(pk=pipeline_id).update(version=F("version") + 1)
    live.push_on_commit(f"pipeline.{pipeline_id}", pipeline=str(pipeline_id))
    live.push_on_commit("pipelines", pipeline=str(pipeline_id))
    live.push_on_commit("tasks", pipeline=str(pipeline_id))
