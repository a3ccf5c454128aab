"""Bring a pipeline forward: queue what became ready, skip what never will, end it when all stages have ended."""

import secrets
from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db.models import Max

from pipelines.models import Attempt, Pipeline, Stage
from pipelines.states import PIPELINE_TERMINAL, STAGE_TERMINAL, PipelineEvent, PipelineStatus, StageEvent, StageStatus
from pipelines.transitions import Moves, moving

_DEAD_ENDS = frozenset({StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED})
_NEEDS: Any = Stage.depends_on.through
"""Rows of the graph: `from_stage` needs `to_stage`."""


def new_attempt(stage_id: UUID) -> Attempt:
    """The next try at a stage. Its id is the task id that the queue carries."""
    return new_attempts([stage_id])[0]


def new_attempts(stage_ids: Collection[UUID]) -> list[Attempt]:
    tried = Attempt.objects.filter(stage__in=stage_ids).order_by().values_list("stage_id").annotate(last=Max("number"))
    last = dict(tried)
    return Attempt.objects.bulk_create(
        Attempt(stage_id=stage_id, number=last.get(stage_id, 0) + 1, launch_token=secrets.token_hex(16))
        for stage_id in stage_ids
    )


def advance(pipeline_id: UUID, *, actor: str = "platform", ended: UUID | None = None) -> None:
    """Level-triggered: looks at the stages as they stand, so calling it once more changes nothing.

    `ended`: the one stage that is known to have ended just now; then only what needs it is looked at.
    """
    with moving(pipeline_id) as moves:
        pipeline = moves.pipeline
        if pipeline is None or pipeline.status in PIPELINE_TERMINAL or pipeline.status == PipelineStatus.PENDING:
            return
        waiting = _waiting(pipeline, None if ended is None else [ended])
        left: set[UUID] = set()
        while waiting:
            ready, dead, blocked = _sorted(waiting)
            if ready and pipeline.status == PipelineStatus.RUNNING:
                moves.stages(dict.fromkeys(ready, 0), StageEvent.ENQUEUE, actor=actor)
                new_attempts(ready)
                moves.queued |= {waiting[stage_id] for stage_id in ready}
            left = (left | {*ready, *blocked}) - {*dead}
            if not dead:
                break
            moves.stages(
                dict.fromkeys(dead, 0), StageEvent.SKIP, actor=actor, reason="a stage it needs did not complete"
            )
            waiting = _waiting(pipeline, dead)
        if not left and not Stage.objects.filter(pipeline=pipeline).exclude(status__in=STAGE_TERMINAL).exists():
            _end(pipeline, moves, actor)


def _waiting(pipeline: Pipeline, above: Collection[UUID] | None) -> dict[UUID, str]:
    """Pending stages, with their queue: all of the pipeline, or those that need one of `above`."""
    if above is None:
        return dict(Stage.objects.filter(pipeline=pipeline, status=StageStatus.PENDING).values_list("pk", "queue"))
    needing = _NEEDS.objects.filter(to_stage__in=above, from_stage__status=StageStatus.PENDING)
    return dict(needing.values_list("from_stage_id", "from_stage__queue"))


def _sorted(waiting: Collection[UUID]) -> tuple[list[UUID], list[UUID], list[UUID]]:
    """Which of the stages have all they need, which never will, and which wait on."""
    unmet: dict[UUID, set[str]] = {stage_id: set() for stage_id in waiting}
    needs = _NEEDS.objects.filter(from_stage__in=list(waiting)).exclude(to_stage__status=StageStatus.COMPLETED)
    for stage_id, status in needs.values_list("from_stage_id", "to_stage__status").distinct():
        unmet[stage_id].add(status)
    return (
        [stage_id for stage_id, found in unmet.items() if not found],
        [stage_id for stage_id, found in unmet.items() if found & _DEAD_ENDS],
        [stage_id for stage_id, found in unmet.items() if found and not found & _DEAD_ENDS],
    )


def _end(pipeline: Pipeline, moves: Moves, actor: str) -> None:
    stages = Stage.objects.filter(pipeline=pipeline)
    ended = stages.aggregate(last=Max("completed_at"))["last"]
    failed = stages.filter(status=StageStatus.FAILED).order_by("order").first()
    if failed is not None and pipeline.retry_count < pipeline.max_retries:
        _try_again(pipeline, moves)
    elif failed is not None:
        message = f"Stage {failed.name} failed: {failed.error_message}"
        moves.whole(PipelineEvent.FAIL, actor=actor, reason=message, error_message=message, completed_at=ended)
    elif stages.filter(status=StageStatus.CANCELLED).exists():
        moves.whole(PipelineEvent.CANCEL, actor=actor, completed_at=ended)
    else:
        moves.whole(PipelineEvent.COMPLETE, actor=actor, completed_at=ended)


def _try_again(pipeline: Pipeline, moves: Moves) -> None:
    """The pipeline's own retry: from the failed stages on, keeping what completed."""
    pipeline.retry_count += 1
    Pipeline.objects.filter(pk=pipeline.pk).update(retry_count=pipeline.retry_count)
    reason = f"retry {pipeline.retry_count} of {pipeline.max_retries}"
    again = Stage.objects.filter(pipeline=pipeline, status__in=[StageStatus.FAILED, StageStatus.SKIPPED])
    for stage_id in again.order_by("order").values_list("pk", flat=True):
        moves.stage(stage_id, StageEvent.REOPEN, actor="platform", reason=reason)
    advance(pipeline.pk)
