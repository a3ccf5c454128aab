"""How steps fall into buckets. Pure.

Level 0 are the steps themselves. At level k a bucket holds 4^k steps, and bucket `i` those from i * 4^k on, the
same for every segment of a stream. A range is inclusive at both ends.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

FACTOR: Final = 4
TOP: Final = 10
"""The highest level: a million steps a bucket."""


class Span(NamedTuple):
    """Buckets `first` to `last` of a level; at level 0, steps."""

    level: int
    first: int
    last: int


def width(level: int) -> int:
    """Steps a bucket."""
    return int(FACTOR**level)


def slots(level: int, low: int, high: int) -> int:
    """How many buckets a range touches."""
    return high // width(level) - low // width(level) + 1


def fitting(low: int, high: int, points: int) -> int:
    """The smallest level at which a range surely has no more than `points` buckets; at most TOP."""
    return next((level for level in range(TOP) if slots(level, low, high) <= points), TOP)


def cover(level: int, low: int, high: int) -> list[Span]:
    """Cut a range into whole buckets of `level`, and finer ones at its edges, so that it is met exactly."""
    if high < low:
        return []
    if level == 0:
        return [Span(0, low, high)]
    size = width(level)
    first, last = -(-low // size), (high + 1) // size - 1
    if first > last:
        return cover(level - 1, low, high)
    return [
        *cover(level - 1, low, first * size - 1),
        Span(level, first, last),
        *cover(level - 1, (last + 1) * size, high),
    ]


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges without a gap: [1, 2, 3, 7] -> [(1, 3), (7, 7)]."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
