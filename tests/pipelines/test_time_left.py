"""How long a run will take still."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.progress import progress_of
from pipelines.states import StageStatus

SEEN = datetime(2026, 1, 1, tzinfo=UTC)


def left(
    *, step: int | None, pace_s: float | None, later: float = 0, status: str = StageStatus.RUNNING
) -> float | None:
    now = SEEN + timedelta(seconds=later)
    return progress_of(status, step=step, target_step=48, pace_s=pace_s, seen_at=SEEN, now=now).eta_s


def test_the_steps_left_take_as_long_as_those_before() -> None:
    assert left(step=8, pace_s=0.5) == 20


def test_it_counts_down_between_two_steps_and_never_below_zero() -> None:
    assert left(step=8, pace_s=0.5, later=3) == 17
    assert left(step=8, pace_s=0.5, later=60) == 0


def test_nobody_guesses_before_the_second_step() -> None:
    assert left(step=1, pace_s=None) is None


@pytest.mark.parametrize("status", [status for status in StageStatus if status != StageStatus.RUNNING])
def test_only_what_runs_has_time_left(status: StageStatus) -> None:
    assert left(step=8, pace_s=0.5, status=status) is None
