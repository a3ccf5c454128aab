"""The one place where a status changes.

Each move is a guarded UPDATE: it names the status it comes from, and the attempt it speaks for. One that does not
take means that somebody else moved first; the caller is told and does nothing. Each move that took leaves a
Transition row and a push to open pages, in the same transaction.

Moves of one pipeline that belong together share a `moving` block: one lock, one version, one push.
"""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from platform_site.common import live, plain

from . import notices
from .models import Attempt, Pipeline, Stage, Transition
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


class MovedMeanwhile(RuntimeError):
    """Of stages that were to move together, not all could: somebody changed a status without the pipeline's lock."""


class Step(NamedTuple):
    """One event of stages that move together, and who brings it about."""

    event: StageEvent
    actor: str
    reason: str = ""


class Moves:
    """Changes of status in one pipeline, whose row is locked; `pipeline` is None when it was deleted."""

    def __init__(self, pipeline: Pipeline | None) -> None:
        self.pipeline = pipeline
        self.queued: set[str] = set()
        """The queues that stages were put into here: where dispatch should look."""
        self._rows: list[Transition] = []

    def stage(
        self,
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
        before = self._status(stage_id, event)
        if before not in STAGE_MOVES[event].sources or only_from not in (None, before):
            return False
        stages = Stage.objects.filter(pk=stage_id, status=before)
        if attempt is not None:
            # A subquery keeps the UPDATE to one table, with the fence inside it.
            opened = Attempt.objects.filter(stage_id=stage_id, number=attempt, outcome="")
            stages = stages.filter(pk__in=opened.values("stage_id"))
        if stages.update(**plain.expressions(_changes(event, fields))) != 1:
            return False
        self._note(before, STAGE_MOVES[event].target, stage_id, attempt, actor, reason)
        return True

    def stages(
        self,
        attempts: Mapping[UUID, int],
        *steps: "Step",
        before: StageStatus | None = None,
        **fields: Any,
    ) -> None:
        """Take stages of this pipeline (id -> attempt) that are in one status through one or more steps.

        `before` is that status, where the first step has more than one source. Several steps are one UPDATE, and a
        Transition row each. Raises MovedMeanwhile, and the caller's transaction must not go on then.
        """
        if before is None:
            (before,) = STAGE_MOVES[steps[0].event].sources
        changes: dict[str, Any] = {}
        for step in steps:
            changes |= _changes(step.event, fields)
        if plain.update(Stage, {"id": list(attempts), "status": before}, changes) != len(attempts):
            raise MovedMeanwhile(f"{steps[0].event} of {len(attempts)} stages")
        for step in steps:
            for stage_id, attempt in attempts.items():
                self._note(before, STAGE_MOVES[step.event].target, stage_id, attempt or None, step.actor, step.reason)
            before = STAGE_MOVES[step.event].target

    def attempts(self, ids: Collection[UUID], **fields: Any) -> None:
        """Write into attempts whose stages move with it, and fence that: all have to be open still, or it raises
        MovedMeanwhile, as `stages` does."""
        if plain.update(Attempt, {"id": list(ids), "outcome": ""}, fields) != len(ids):
            raise MovedMeanwhile(f"{len(ids)} attempts")

    def whole(self, event: PipelineEvent, *, actor: str, reason: str = "", **fields: Any) -> bool:
        """Apply `event` to the pipeline itself; False when its status does not allow it (any more)."""
        move = PIPELINE_MOVES[event]
        if self.pipeline is None or self.pipeline.status not in move.sources:
            return False
        now, changes = timezone.now(), dict(fields)
        if move.target is PipelineStatus.RUNNING and self.pipeline.started_at is None:
            changes.setdefault("started_at", now)
        if event is PipelineEvent.REOPEN:
            ended = self.pipeline.completed_at or now
            idle_s = self.pipeline.idle_s + max(0.0, (now - ended).total_seconds())
            changes |= {"completed_at": None, "error_message": "", "idle_s": idle_s}
        if move.target in PIPELINE_TERMINAL:
            changes.setdefault("completed_at", now)
        before = self.pipeline.status
        if Pipeline.objects.filter(pk=self.pipeline.pk, status=before).update(status=move.target, **changes) != 1:
            return False
        self.pipeline.status = move.target
        self._note(before, move.target, None, None, actor, reason)
        return True

    def _status(self, stage_id: UUID, event: StageEvent) -> str | None:
        """What the stage is moved from. Where there is one possibility, the UPDATE itself finds out."""
        sources = STAGE_MOVES[event].sources
        if len(sources) == 1:
            return next(iter(sources))
        return Stage.objects.filter(pk=stage_id).values_list("status", flat=True).first()

    def _note(
        self, before: str, after: str, stage_id: UUID | None, attempt: int | None, actor: str, reason: str
    ) -> None:
        self._rows.append(
            Transition(
                pipeline=self.pipeline,
                stage_id=stage_id,
                attempt=attempt,
                from_status=before,
                to_status=after,
                reason=reason,
                actor=actor,
            )
        )

    def keep(self) -> None:
        """Write what the moves leave behind."""
        if not self._rows or self.pipeline is None:
            return
        Transition.objects.bulk_create(self._rows)
        notices.moved(self.pipeline, self._rows)
        stages = {row.stage_id for row in self._rows if row.stage_id is not None}
        touch_pipeline(self.pipeline.pk, stages=stages)


class _Open(threading.local):
    """The blocks of this thread, by pipeline."""

    def __init__(self) -> None:
        self.blocks: dict[UUID, Moves] = {}


_open = _Open()


def open_blocks() -> set[UUID]:
    """The pipelines whose moves this thread has made and not written yet."""
    return set(_open.blocks)


@contextmanager
def moving(pipeline_id: UUID) -> Iterator[Moves]:
    """One transaction for moves in a pipeline. Within such a block another one of the same pipeline joins it.

    The pipeline's row first, always: whoever moves stages of one pipeline waits here, and nobody deadlocks.
    """
    blocks = _open.blocks
    joined = blocks.get(pipeline_id)
    if joined is not None:
        yield joined
        return
    with transaction.atomic(savepoint=False):
        moves = Moves(next(iter(plain.select(Pipeline, {"id": pipeline_id}, lock=True)), None))
        blocks[pipeline_id] = moves
        try:
            yield moves
        finally:
            del blocks[pipeline_id]
        moves.keep()


def move_stage(stage_id: UUID, event: StageEvent, **how: Any) -> bool:
    """One move in a transaction of its own, or the caller's: see `Moves.stage`."""
    pipeline_id = Stage.objects.filter(pk=stage_id).values_list("pipeline_id", flat=True).first()
    if pipeline_id is None:
        return False
    with moving(pipeline_id) as moves:
        return moves.stage(stage_id, event, **how)


def move_pipeline(pipeline_id: UUID, event: PipelineEvent, **how: Any) -> bool:
    """One move in a transaction of its own, or the caller's: see `Moves.whole`."""
    with moving(pipeline_id) as moves:
        return moves.whole(event, **how)


def touch_pipeline(pipeline_id: UUID, *, stages: set[UUID] | frozenset[UUID] = frozenset()) -> None:
    """Something below the pipeline changed: open pages of it, and of those stages, should look again."""
    plain.update(Pipeline, {"id": pipeline_id}, {"version": plain.More(1)})
    told = str(pipeline_id)
    groups: list[live.Event] = [live.Event(f"stage.{stage}", {"stage": str(stage)}) for stage in stages]
    groups += [live.Event(group, {"pipeline": told}) for group in (f"pipeline.{told}", "pipelines", "tasks")]
    live.push_all_on_commit(groups)


def _changes(event: StageEvent, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a move sets."""
    now, target = timezone.now(), STAGE_MOVES[event].target
    changes: dict[str, Any] = {
        "waiting_for": "",
        **fields,
        "status": target,
        "changed_at": now,
        "version": plain.More(1),
    }
    if event is StageEvent.ENQUEUE or event is StageEvent.REQUEUE:
        changes.setdefault("queued_at", now)
    if event is StageEvent.START:
        changes.setdefault("started_at", plain.Unless(now))
    if event is StageEvent.REOPEN:
        changes |= {"started_at": None, "completed_at": None, "error_message": "", "result": None}
    if target in STAGE_TERMINAL:
        changes.setdefault("completed_at", now)
    return changes
