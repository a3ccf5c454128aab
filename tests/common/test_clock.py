"""How long ago something was, while somebody sets the clock."""

import pytest

from platform_site.common.clock import AHEAD_S, LONG_AGO_S, Clock

HOUR = 3600.0
START = 1_800_000_000.0


class Machine:
    """A machine's two clocks, and what looks at them."""

    def __init__(self) -> None:
        self.ran, self.wall_began = 1000.0, START
        self.clock = Clock(lambda: self.wall, lambda: self.ran)
        self.clock.look()

    @property
    def wall(self) -> float:
        return self.wall_began + self.ran - 1000.0

    def runs(self, seconds: float) -> None:
        self.ran += seconds
        self.clock.look()

    def is_set(self, by: float) -> None:
        self.wall_began += by


@pytest.mark.parametrize("by", [0.0, 1.0, HOUR, -HOUR, 24 * HOUR])
def test_what_happened_before_the_clock_was_set_is_as_old_as_it_is(by: float) -> None:
    machine = Machine()
    machine.runs(50)
    moment = machine.wall
    machine.runs(7)
    machine.is_set(by)
    machine.runs(3)
    assert machine.clock.age_s(moment) == pytest.approx(10, abs=abs(by) if abs(by) <= 1 else 1e-3)


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_what_happened_after_it_too(by: float) -> None:
    machine = Machine()
    machine.runs(50)
    machine.is_set(by)
    machine.runs(2)
    moment = machine.wall
    machine.runs(10)
    assert machine.clock.age_s(moment) == pytest.approx(10, abs=1e-3)


def test_a_clock_set_forward_and_back_again() -> None:
    machine = Machine()
    moments = [machine.wall]
    for by in (HOUR, -HOUR, HOUR / 2):
        machine.runs(100)
        machine.is_set(by)
        machine.runs(1)
        moments.append(machine.wall)
    ages = [machine.clock.age_s(moment) for moment in moments]
    assert ages[0] == pytest.approx(303, abs=1e-3)
    assert ages[3] == pytest.approx(0, abs=1e-3)


def test_a_moment_of_before_this_process_counts_through_a_later_jump() -> None:
    machine = Machine()
    moment = machine.wall - 500
    machine.runs(1)
    machine.is_set(HOUR)
    machine.runs(1)
    assert machine.clock.age_s(moment) == pytest.approx(502, abs=1e-3)


def test_another_machine_may_be_a_little_ahead_and_what_is_far_ahead_is_long_ago() -> None:
    machine = Machine()
    machine.runs(10)
    assert machine.clock.age_s(machine.wall + 20) == pytest.approx(-20, abs=1e-3)
    assert machine.clock.age_s(machine.wall + AHEAD_S + 1) == LONG_AGO_S


def test_a_machine_that_sleeps_ages_nothing() -> None:
    machine = Machine()
    machine.runs(10)
    moment = machine.wall
    machine.is_set(8 * HOUR)  # the wall clock goes on while the steady one stands
    machine.runs(5)
    assert machine.clock.age_s(moment) == pytest.approx(5, abs=1e-3)
