"""Bring a pipeline forward: queue what became ready, skip what never will, end it when all stages have ended."""

import secrets
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Max

from pipelines.models import Attempt, Pipeline, Stage
from pipelines.services.doctor import sentence
from pipelines.states import PIPELINE_TERMINAL, STAGE_TERMINAL, PipelineEvent, PipelineStatus, StageEvent, StageStatus
from pipelines.transitions import Moves, Step, moving
from platform_site.common import plain

_DEAD_ENDS = frozenset({StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED})
_NEEDS: Any = Stage.depends_on.through
"""Rows of the graph: `from_stage` needs `to_stage`."""


def new_attempt(stage_id: UUID) -> Attempt:
    """The next try at a stage. Its id is the task id that the queue carries."""
    (attempt,) = Attempt.objects.bulk_create(_next_tries([Stage.objects.get(pk=stage_id)]))
    return attempt


def _next_tries(stages: Sequence[Stage]) -> list[Attempt]:
    """One a stage, not saved yet."""
    known = [stage.pk for stage in stages if stage.version]  # no other has ever moved, nor been tried
    tried = Attempt.objects.filter(stage__in=known).order_by().values_list("stage").annotate(last=Max("number"))
    last = dict(tried) if known else {}
    return [
        Attempt(stage=stage, number=last.get(stage.pk, 0) + 1, launch_token=secrets.token_hex(16)) for stage in stages
    ]


def advance(pipeline_id: UUID, *, actor: str = "platform", ended: Collection[UUID] | None = None) -> None:
    """Level-triggered: looks at the stages as they stand, so calling it once more changes nothing.

    `ended`: those that are known to have ended just now; then only what needs them is looked at.
    """
    with moving(pipeline_id) as moves:
        enqueue(moves, go_on(moves, actor=actor, ended=ended), actor=actor)


def enqueue(moves: Moves, attempts: Collection[Attempt], *, actor: str) -> None:
    """Queue stages that wait for nothing more, with these new tries at them."""
    if attempts:
        moves.stages({one.stage_id: one.number for one in attempts}, Step(StageEvent.ENQUEUE, actor))
        Attempt.objects.bulk_create(attempts)


def go_on(moves: Moves, *, actor: str, ended: Collection[UUID] | None = None) -> list[Attempt]:
    """As `advance`, but what became ready is not queued yet: its tries, for whoever may start them at once."""
    pipeline = moves.pipeline
    if pipeline is None or pipeline.status in PIPELINE_TERMINAL or pipeline.status == PipelineStatus.PENDING:
        return []
    tries: list[Attempt] = []
    lacking = False
    look: Collection[UUID] | None = ended
    while look is None or look:
        waiting = _waiting(pipeline, look)
        ready = [stage_id for stage_id, unmet in waiting.items() if not unmet]
        dead = [stage_id for stage_id, unmet in waiting.items() if unmet & _DEAD_ENDS]
        lacking |= any(unmet and not unmet & _DEAD_ENDS for unmet in waiting.values())
        if ready and pipeline.status == PipelineStatus.RUNNING:
            tries += _next_tries(_pending(ready))
        look = [stage.pk for stage in _pending(dead)] if dead else []
        if look:
            moves.stages(dict.fromkeys(look, 0), Step(StageEvent.SKIP, actor, "a stage it needs did not complete"))
    moves.queued |= {one.stage.queue for one in tries}
    if (
        not (tries or lacking)
        and not Stage.objects.filter(pipeline=pipeline).exclude(status__in=STAGE_TERMINAL).exists()
    ):
        _end(pipeline, moves, actor)
    return tries


def _pending(ids: Collection[UUID]) -> list[Stage]:
    return plain.select(Stage, {"id": list(ids), "status": StageStatus.PENDING}, order=["order"])


def _waiting(pipeline: Pipeline, above: Collection[UUID] | None) -> dict[UUID, set[str]]:
    """What the stages that need one of `above`, or all that are pending, need and lack: the statuses of that.

    Without a look at the stages themselves, which costs PostgreSQL more to plan than all else of a short stage.
    """
    found: dict[UUID, set[str]] = {}
    if above is None:
        pending = Stage.objects.filter(pipeline=pipeline, status=StageStatus.PENDING).order_by()
        found |= {stage_id: set() for stage_id in pending.values_list("pk", flat=True)}
        needs = _NEEDS.objects.filter(from_stage__pipeline=pipeline, from_stage__status=StageStatus.PENDING)
    else:
        needs = _NEEDS.objects.filter(from_stage__in=_NEEDS.objects.filter(to_stage__in=above).values("from_stage"))
    for stage_id, status in needs.values_list("from_stage", "to_stage__status").distinct():
        unmet = found.setdefault(stage_id, set())
        if status != StageStatus.COMPLETED:
            unmet.add(status)
    return found


def _end(pipeline: Pipeline, moves: Moves, actor: str) -> None:
    stages = Stage.objects.filter(pipeline=pipeline)
    ended = stages.aggregate(last=Max("completed_at"))["last"]
    failed = stages.filter(status=StageStatus.FAILED).order_by("order").first()
    # Who cancelled a stage, or all, wants an end: nothing of the pipeline starts again by itself after that. All may
    # have been asked for too late for any stage to be cancelled.
    cancelled = stages.filter(status=StageStatus.CANCELLED).exists()
    wanted = cancelled or pipeline.cancel_asked_at is not None
    if failed is not None and not wanted and pipeline.retry_count < pipeline.max_retries and not _for_good(pipeline):
        _try_again(pipeline, moves)
    elif failed is not None:
        message = f"Stage {failed.name} failed: {failed.error_message}"
        moves.whole(PipelineEvent.FAIL, actor=actor, reason=message, error_message=message, completed_at=ended)
    elif cancelled:
        moves.whole(PipelineEvent.CANCEL, actor=actor, completed_at=ended)
    else:
        moves.whole(PipelineEvent.COMPLETE, actor=actor, completed_at=ended)


def _for_good(pipeline: Pipeline) -> bool:
    """Whether a stage has failed for a reason that trying again would only meet again."""
    failed = Attempt.objects.filter(stage__pipeline=pipeline, stage__status=StageStatus.FAILED)
    latest = {attempt.stage_id: attempt for attempt in failed.select_related("stage").order_by("number")}
    judged = (sentence(attempt) for attempt in latest.values())
    return any(one is not None and not one.again for one in judged)


def _try_again(pipeline: Pipeline, moves: Moves) -> None:
    """The pipeline's own retry: from the failed stages on, keeping what completed."""
    pipeline.retry_count += 1
    Pipeline.objects.filter(pk=pipeline.pk).update(retry_count=pipeline.retry_count)
    reason = f"retry {pipeline.retry_count} of {pipeline.max_retries}"
    again = Stage.objects.filter(pipeline=pipeline, status__in=[StageStatus.FAILED, StageStatus.SKIPPED])
    for stage_id in again.order_by("order").values_list("pk", flat=True):
        moves.stage(stage_id, StageEvent.REOPEN, actor="platform", reason=reason)
    advance(pipeline.pk)
