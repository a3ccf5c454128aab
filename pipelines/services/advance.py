"""Bring a pipeline forward: queue what became ready, skip what never will, end it when all stages have ended."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Max

from pipelines.models import Attempt, Pipeline, Stage
from pipelines.states import PIPELINE_TERMINAL, STAGE_TERMINAL, PipelineEvent, PipelineStatus, StageEvent, StageStatus
from pipelines.transitions import Moves, Step, moving

_DEAD_ENDS = frozenset({StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED})
_NEEDS: Any = Stage.depends_on.through
"""Rows of the graph: `from_stage` needs `to_stage`."""


def new_attempt(stage_id: UUID) -> Attempt:
    """The next try at a stage. Its id is the task id that the queue carries."""
    last = Attempt.objects.filter(stage=stage_id).aggregate(last=Max("number"))["last"]
    return _new_attempts({stage_id: last or 0})[0]


def _new_attempts(tried: Mapping[UUID, int]) -> list[Attempt]:
    """`tried`: stage -> how often so far."""
    return Attempt.objects.bulk_create(
        Attempt(stage_id=stage_id, number=last + 1, launch_token=secrets.token_hex(16))
        for stage_id, last in tried.items()
    )


@dataclass
class _Waiting:
    """A pending stage: its queue, how often it was tried, and the statuses of what it needs and lacks."""

    queue: str
    tried: int = 0
    unmet: set[str] = field(default_factory=set)

    @property
    def dead(self) -> bool:
        return bool(self.unmet & _DEAD_ENDS)


def advance(pipeline_id: UUID, *, actor: str = "platform", ended: Collection[UUID] | None = None) -> None:
    """Level-triggered: looks at the stages as they stand, so calling it once more changes nothing.

    `ended`: those that are known to have ended just now; then only what needs them is looked at.
    """
    with moving(pipeline_id) as moves:
        pipeline = moves.pipeline
        if pipeline is None or pipeline.status in PIPELINE_TERMINAL or pipeline.status == PipelineStatus.PENDING:
            return
        waiting = _waiting(pipeline, ended)
        left: set[UUID] = set()
        while waiting:
            ready = {stage_id: found for stage_id, found in waiting.items() if not found.unmet}
            dead = {stage_id for stage_id, found in waiting.items() if found.dead}
            if ready and pipeline.status == PipelineStatus.RUNNING:
                moves.stages(dict.fromkeys(ready, 0), Step(StageEvent.ENQUEUE, actor))
                _new_attempts({stage_id: found.tried for stage_id, found in ready.items()})
                moves.queued |= {found.queue for found in ready.values()}
            left = (left | waiting.keys()) - dead
            if not dead:
                break
            moves.stages(dict.fromkeys(dead, 0), Step(StageEvent.SKIP, actor, "a stage it needs did not complete"))
            waiting = _waiting(pipeline, dead)
        if not left and not Stage.objects.filter(pipeline=pipeline).exclude(status__in=STAGE_TERMINAL).exists():
            _end(pipeline, moves, actor)


def _waiting(pipeline: Pipeline, above: Collection[UUID] | None) -> dict[UUID, _Waiting]:
    """Pending stages: all of the pipeline, or those that need one of `above`."""
    pending = Stage.objects.filter(pipeline=pipeline, status=StageStatus.PENDING)
    if above is not None:
        pending = pending.filter(pk__in=_NEEDS.objects.filter(to_stage__in=above).values("from_stage"))
    # A row for each status of what a stage needs, and each try at it; one with neither has one row.
    rows = pending.order_by().values_list("pk", "queue", "attempts__number", "depends_on__status").distinct()
    found: dict[UUID, _Waiting] = {}
    for stage_id, queue, number, needed in rows:
        stage = found.setdefault(stage_id, _Waiting(queue))
        stage.tried = max(stage.tried, number or 0)
        if needed not in (None, StageStatus.COMPLETED):
            stage.unmet.add(needed)
    return found


def _end(pipeline: Pipeline, moves: Moves, actor: str) -> None:
    stages = Stage.objects.filter(pipeline=pipeline)
    ended = stages.aggregate(last=Max("completed_at"))["last"]
    failed = stages.filter(status=StageStatus.FAILED).order_by("order").first()
    # Who cancelled a stage, or all, wants an end: nothing of the pipeline starts again by itself after that. All may
    # have been asked for too late for any stage to be cancelled.
    cancelled = stages.filter(status=StageStatus.CANCELLED).exists()
    wanted = cancelled or pipeline.cancel_asked_at is not None
    if failed is not None and not wanted and pipeline.retry_count < pipeline.max_retries:
        _try_again(pipeline, moves)
    elif failed is not None:
        message = f"Stage {failed.name} failed: {failed.error_message}"
        moves.whole(PipelineEvent.FAIL, actor=actor, reason=message, error_message=message, completed_at=ended)
    elif cancelled:
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
