"""How fast a run is played back, by the clock of whoever asks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.live.tempo import FASTEST, MOST_GAP_S, SLOWEST, Clock, Timeline


def placed(*times: float | None) -> list[float]:
    timeline = Timeline()
    return [timeline.place(time) for time in times]


def test_steps_are_as_far_apart_as_they_were() -> None:
    assert placed(100.0, 100.5, 102.5) == [0.0, 0.5, 2.5]


def test_a_night_in_between_is_not_waited_for() -> None:
    assert placed(0.0, 30_000.0, 30_001.0) == [0.0, MOST_GAP_S, MOST_GAP_S + 1]


def test_a_step_without_a_time_or_with_one_that_goes_back_keeps_the_pace() -> None:
    assert placed(10.0, 12.0, None, 5.0, 8.0) == [0.0, 2.0, 4.0, 6.0, 9.0]
    assert placed(None, None) == [0.0, 1.0]


@given(st.lists(st.none() | st.floats(0, 1e11), max_size=50))
def test_places_never_go_back_and_are_never_too_far_apart(times: list[float | None]) -> None:
    places = placed(*times)
    assert all(0 <= later - earlier <= MOST_GAP_S + 1e-6 for earlier, later in pairwise(places))


@pytest.mark.parametrize("speed", [SLOWEST, 1.0, FASTEST])
def test_a_clock_runs_at_its_speed(speed: float) -> None:
    clock = Clock(speed, now=50.0)
    assert clock.position(53.0) == pytest.approx(3 * speed)
    assert clock.wait_s(9 * speed, 53.0) == pytest.approx(6.0)
    assert clock.wait_s(1.0 * speed, 53.0) == 0.0


def test_a_pause_stands_still_and_goes_on_from_there() -> None:
    clock = Clock(2.0, now=0.0)
    clock.pause(5.0)
    clock.pause(6.0)
    assert clock.position(100.0) == 10.0
    assert clock.wait_s(11.0, 100.0) is None
    clock.resume(100.0)
    clock.resume(101.0)
    assert clock.position(102.0) == 14.0


def test_another_speed_counts_from_now_on() -> None:
    clock = Clock(1.0, now=0.0)
    clock.set_speed(10.0, 4.0)
    assert clock.position(5.0) == 14.0
    clock.pause(5.0)
    clock.set_speed(0.5, 90.0)
    clock.resume(100.0)
    assert clock.position(102.0) == 15.0


def test_a_clock_can_be_put_elsewhere() -> None:
    clock = Clock(2.0, now=0.0)
    clock.move(100.0, 7.0)
    assert clock.position(8.0) == 102.0
