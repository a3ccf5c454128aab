"""How far a stage is and how long it will take still. Pure: pages, API and sockets show the same figures."""

from dataclasses import dataclass
from datetime import datetime

from .states import STAGE_TERMINAL, StageStatus


@dataclass(frozen=True)
class Progress:
    """`fraction` 0-1, None while nobody knows; `eta_s` seconds, None when it cannot be told or nothing is left."""

    step: int | None
    target_step: int | None
    fraction: float | None
    eta_s: float | None


def progress_of(
    status: str,
    *,
    step: int | None,
    target_step: int | None,
    started_at: datetime | None,
    seen_at: datetime | None,
    now: datetime,
    resumed_from: int | None = None,
) -> Progress:
    """`started_at` is this attempt's start, `seen_at` when `step` was reached, `resumed_from` the step it began at.

    The rate is taken at the last step and the estimate then counts down by itself between two steps.
    """
    if status == StageStatus.COMPLETED:
        return Progress(step, target_step, 1.0, None)
    if not target_step:
        return Progress(step, target_step, None, None)
    fraction = min(1.0, max(0.0, (step or 0) / target_step))
    if status in STAGE_TERMINAL or status != StageStatus.RUNNING:
        return Progress(step, target_step, fraction, None)
    done = (step or 0) - (resumed_from or 0)
    if started_at is None or seen_at is None or done <= 0:
        return Progress(step, target_step, fraction, None)
    took = (seen_at - started_at).total_seconds()
    left = max(0, target_step - (step or 0)) * took / done - (now - seen_at).total_seconds()
    return Progress(step, target_step, fraction, max(0.0, left) if took > 0 else None)
