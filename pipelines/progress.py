"""How far a stage is and how long it will take still. Pure: pages, API and sockets show the same figures."""

from dataclasses import dataclass
from datetime import datetime

from .states import STAGE_TERMINAL, StageStatus


@dataclass(frozen=True)
class Progress:
    """`fraction` 0-1, None while nobody knows; `eta_s` seconds, None when it cannot be told or nothing is left.

    `unit` says what is counted: steps of a training, rows of a dataset, samples of an evaluation.
    """

    step: int | None
    target_step: int | None
    fraction: float | None
    eta_s: float | None
    unit: str = "step"


def progress_of(
    status: str,
    *,
    step: int | None,
    target_step: int | None,
    pace_s: float | None,
    seen_at: datetime | None,
    now: datetime,
    unit: str = "step",
) -> Progress:
    """`pace_s` is what a step of this attempt takes in seconds, None before its second; `seen_at` when `step` was
    reached. The estimate counts down by itself between two steps.

    The time before the first step does not count: a trainer may load longer than it trains.
    """
    if status == StageStatus.COMPLETED:
        return Progress(step, target_step, 1.0, None, unit)
    if not target_step:
        return Progress(step, target_step, None, None, unit)
    fraction = min(1.0, max(0.0, (step or 0) / target_step))
    if status in STAGE_TERMINAL or status != StageStatus.RUNNING:
        return Progress(step, target_step, fraction, None, unit)
    if pace_s is None or seen_at is None:
        return Progress(step, target_step, fraction, None, unit)
    left = max(0, target_step - (step or 0)) * pace_s - (now - seen_at).total_seconds()
    return Progress(step, target_step, fraction, max(0.0, left), unit)
