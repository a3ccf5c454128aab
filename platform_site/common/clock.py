"""How long ago something was, also when somebody sets the clock in between.

What the platform notes down are moments of the wall clock, which jumps when it is set; how long something may take is
measured by a steady clock, which does not, and which stands while the machine is suspended. This module keeps what
lies between the two, from when the process first looked, and so knows what a moment of before a jump means after it.
Time-outs of runs do not need it: their own host measures those.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

JUMP_S: Final = 2.0
"""A change of the wall clock that counts. Slewing by a time server stays far below, between two looks."""
AHEAD_S: Final = 60.0
"""Machines' clocks may differ by so much. A moment further ahead was written before the clock was set back."""
LONG_AGO_S: Final = 1e9


class Clock:
    """`wall` and `steady` answer seconds. Safe among threads."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic, keep: int = 100
    ) -> None:
        self._wall, self._steady, self._keep = wall, steady, keep
        self._lock = threading.Lock()
        self._eras: list[tuple[float, float]] = []
        """From which steady second on, and how far the wall clock was ahead of the steady one then. Oldest first."""

    def look(self) -> tuple[float, list[tuple[float, float]]]:
        """Notice a jump, if there was one. To be called at least every few seconds. The steady now, and the eras."""
        with self._lock:
            now = self._steady()
            offset = self._wall() - now
            if not self._eras or abs(offset - self._eras[-1][1]) > JUMP_S:
                self._eras = [*self._eras[-self._keep :], (now, offset)]
            return now, self._eras

    def age_s(self, moment: float) -> float:
        """Seconds since a moment of the wall clock (since the epoch); below zero for one that lies a little ahead.

        One that lies far ahead was written before the clock was set back, nobody knows when: long ago, so that
        nothing waits for it.
        """
        now, eras = self.look()
        end = now
        for begin, offset in reversed(eras):
            at = moment - offset
            if begin - JUMP_S <= at <= end + JUMP_S:
                return now - at
            end = begin
        begin, offset = eras[0]
        if moment - offset < begin:
            return now - (moment - offset)
        age = now + eras[-1][1] - moment
        return age if age > -AHEAD_S else LONG_AGO_S


_clock = Clock()
look = _clock.look


def age_s(moment: datetime) -> float:
    """Seconds since a moment that the platform noted."""
    return _clock.age_s(moment.timestamp())


def is_over(until: datetime | None, at_most: timedelta) -> bool:
    """Whether a term that was set for at most `at_most` has ended. One that was never set has."""
    return until is None or age_s(until - at_most) >= at_most.total_seconds()


def out_of_reach(at_most: timedelta) -> datetime:
    """A term of at most `at_most` that ends later than this was set before the clock was set back."""
    return timezone.now() + at_most + timedelta(seconds=AHEAD_S)
