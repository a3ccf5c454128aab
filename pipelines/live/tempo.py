"""How fast a run is played back. Pure: moments come from the caller."""

from typing import Final

SLOWEST: Final = 0.1
FASTEST: Final = 10.0
MOST_GAP_S: Final = 10.0
"""Nobody wants to wait for a restart, a validation or a night in between: no two steps are farther apart than this."""
_FIRST_GAP_S: Final = 1.0


class Timeline:
    """Places steps by their recorded times, the first at 0, in seconds at speed 1."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._time: float | None = None
        self._gap = _FIRST_GAP_S

    def place(self, time: float | None) -> float:
        """Where the next step is. A step without a time, or with one that goes back, comes as long after the one
        before it as that one did."""
        if self._at is None:
            self._at = 0.0
        else:
            if time is not None and self._time is not None and time >= self._time:
                self._gap = min(MOST_GAP_S, time - self._time)
            self._at += self._gap
        self._time = time if time is not None else self._time
        return self._at


class Clock:
    """A position that moves on by itself: `speed` seconds a second, unless it is paused."""

    def __init__(self, speed: float, now: float) -> None:
        self._speed = speed
        self._position = 0.0
        self._since = now
        self.paused = False

    @property
    def speed(self) -> float:
        return self._speed

    def position(self, now: float) -> float:
        return self._position if self.paused else self._position + (now - self._since) * self._speed

    def wait_s(self, position: float, now: float) -> float | None:
        """Until the position is reached; None while paused."""
        return None if self.paused else max(0.0, (position - self.position(now)) / self._speed)

    def move(self, position: float, now: float) -> None:
        self._position, self._since = position, now

    def pause(self, now: float) -> None:
        self.move(self.position(now), now)
        self.paused = True

    def resume(self, now: float) -> None:
        self.move(self.position(now), now)
        self.paused = False

    def set_speed(self, speed: float, now: float) -> None:
        self.move(self.position(now), now)
        self._speed = speed
