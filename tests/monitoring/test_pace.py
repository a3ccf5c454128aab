"""What a step takes, for the time left."""

import pytest

from .conftest import Run
from .lines import append, line


def test_the_pace_is_taken_from_the_first_step_on_whatever_the_trainer_took_to_load(run: Run) -> None:
    path = run.attempt()
    append(path, line(1, time=1000.0))
    run.sync()
    assert run.stream.pace_s is None
    append(path, line(2, time=1002.0), line(5, time=1006.0))
    run.sync()
    assert run.stream.pace_s == pytest.approx(1.5)


def test_a_new_attempt_has_a_pace_of_its_own(run: Run) -> None:
    append(run.attempt(), line(1, time=10.0), line(2, time=20.0))
    run.sync()
    path = run.attempt(2, resumed_from=1)
    assert run.stream.pace_s is None
    append(path, line(2, time=500.0), line(3, time=500.5))
    run.sync()
    assert run.stream.pace_s == pytest.approx(0.5)


def test_a_clock_that_goes_back_gives_no_pace(run: Run) -> None:
    append(run.attempt(), line(1, time=20.0), line(2, time=10.0))
    run.sync()
    assert run.stream.pace_s is None
