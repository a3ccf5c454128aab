"""The life of a stage and of a pipeline: every status, every event, and which event leads where. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar


class StageStatus(StrEnum):
    PENDING = "pending"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class PipelineStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How an attempt ended. An attempt has no status: that stands on its stage alone."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class StageEvent(StrEnum):
    ENQUEUE = "enqueue"
    DISPATCH = "dispatch"
    START = "start"
    COMPLETE = "complete"
    FAIL = "fail"
    REQUEUE = "requeue"
    REQUEST_CANCEL = "request_cancel"
    CANCEL = "cancel"
    SKIP = "skip"
    REOPEN = "reopen"


class PipelineEvent(StrEnum):
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    REOPEN = "reopen"


S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True)
class Move(Generic[S]):
    """An event's effect: from any of `sources` to `target`."""

    sources: frozenset[S]
    target: S


_S = StageStatus
STAGE_MOVES: Final[dict[StageEvent, Move[StageStatus]]] = {
    StageEvent.ENQUEUE: Move(frozenset({_S.PENDING}), _S.QUEUED),
    StageEvent.DISPATCH: Move(frozenset({_S.QUEUED}), _S.STARTING),
    StageEvent.START: Move(frozenset({_S.STARTING}), _S.RUNNING),
    # A run can end well between the request to cancel it and the signal: what ended first, counts.
    StageEvent.COMPLETE: Move(frozenset({_S.STARTING, _S.RUNNING, _S.CANCELLING}), _S.COMPLETED),
    StageEvent.FAIL: Move(frozenset({_S.QUEUED, _S.STARTING, _S.RUNNING}), _S.FAILED),
    StageEvent.REQUEUE: Move(frozenset({_S.STARTING, _S.RUNNING}), _S.QUEUED),
    StageEvent.REQUEST_CANCEL: Move(frozenset({_S.STARTING, _S.RUNNING}), _S.CANCELLING),
    StageEvent.CANCEL: Move(frozenset({_S.PENDING, _S.QUEUED, _S.STARTING, _S.CANCELLING}), _S.CANCELLED),
    StageEvent.SKIP: Move(frozenset({_S.PENDING}), _S.SKIPPED),
    StageEvent.REOPEN: Move(frozenset({_S.FAILED, _S.CANCELLED, _S.SKIPPED}), _S.PENDING),
}

_P = PipelineStatus
PIPELINE_MOVES: Final[dict[PipelineEvent, Move[PipelineStatus]]] = {
    PipelineEvent.START: Move(frozenset({_P.PENDING}), _P.RUNNING),
    PipelineEvent.PAUSE: Move(frozenset({_P.RUNNING}), _P.PAUSED),
    PipelineEvent.RESUME: Move(frozenset({_P.PAUSED}), _P.RUNNING),
    PipelineEvent.COMPLETE: Move(frozenset({_P.RUNNING, _P.PAUSED}), _P.COMPLETED),
    PipelineEvent.FAIL: Move(frozenset({_P.RUNNING, _P.PAUSED}), _P.FAILED),
    PipelineEvent.CANCEL: Move(frozenset({_P.PENDING, _P.RUNNING, _P.PAUSED}), _P.CANCELLED),
    PipelineEvent.REOPEN: Move(frozenset({_P.FAILED, _P.CANCELLED}), _P.RUNNING),
}

STAGE_TERMINAL: Final = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.SKIPPED})
STAGE_ACTIVE: Final = frozenset({_S.STARTING, _S.RUNNING, _S.CANCELLING})
"""Holding a slot: something runs, is about to, or is being stopped."""
PIPELINE_TERMINAL: Final = frozenset({_P.COMPLETED, _P.FAILED, _P.CANCELLED})
