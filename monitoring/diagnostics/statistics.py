"""What can be kept of a series in a few numbers. All of it frozen: a new value gives a new one."""

import math
import sys
from typing import Final, NamedTuple

_MOST: Final = 64
LARGEST: Final = sys.float_info.max


def finite(value: float) -> float:
    """What can be kept of a figure, where numbers at the edge of what there is were divided or multiplied: the largest
    number in place of an infinite one, 0 in place of none."""
    if math.isfinite(value):
        return value
    return 0.0 if math.isnan(value) else math.copysign(LARGEST, value)


class Ema(NamedTuple):
    """Exponential moving mean and variance, with the bias of the start taken out of the mean."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0  # type: ignore[assignment]  # hides a method of tuples that nobody needs

    def add(self, value: float, weight: float) -> "Ema":
        """`weight` is what the past counts for, e.g. 0.97; the first values count evenly."""
        count = self.count + 1
        share = max(1 - weight, 1 / count)
        away = finite(value - self.mean)
        mean = finite(self.mean + share * away)
        return Ema(mean, finite((1 - share) * (self.variance + share * away * away)), count)

    @property
    def deviation(self) -> float:
        return math.sqrt(self.variance)


class Sketch(NamedTuple):
    """At most 64 values, evenly spread over all there were: every `every`-th. Its median is that of the series."""

    values: tuple[float, ...] = ()
    every: int = 1
    waiting: int = 0

    def add(self, value: float) -> "Sketch":
        waiting = self.waiting + 1
        if waiting < self.every:
            return Sketch(self.values, self.every, waiting)
        values = (*self.values, value)
        if len(values) <= _MOST:
            return Sketch(values, self.every, 0)
        return Sketch(values[1::2], self.every * 2, 0)

    @property
    def median(self) -> float:
        return median(self.values)


def median(values: tuple[float, ...] | list[float]) -> float:
    """Of at least one value; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def mad(values: tuple[float, ...] | list[float]) -> float:
    """The median distance from the median, scaled so that it is the standard deviation of normal values."""
    centre = median(values)
    return 1.4826 * median([abs(value - centre) for value in values])
