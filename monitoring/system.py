"""What of a machine's samples is kept, and when its disk will be full. Pure.

Kept is a bounded number of rows an attempt, each of the same width: a short run has every sample, a long one is
thinned evenly, and neither costs more to store or to draw. Chosen over the store of metrics because nobody zooms
into a machine's five-second samples of last week, and because these rows need no cursor, merging or clipping.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from platform_runtime.system import SystemSample

MOST_ROWS: Final = 1_440
"""Two hours at full detail; a day has a row for two minutes or less."""
RECENT: Final = 60
FEWEST: Final = 4
REACH: Final = 10
"""How many times as far as it was measured a fall is drawn on, while nothing else bears it out."""
FARTHEST_S: Final = 14 * 86_400.0
"""Beyond that a straight line says nothing."""


@dataclass(frozen=True)
class Row:
    """`count` samples as one: the mean of percents, the most memory used, the least disk free. `time` is the last's."""

    index: int
    count: int
    time: float
    values: dict[str, float]


def joined(older: Row, newer: Row, index: int) -> Row:
    values = {**older.values, **newer.values}
    for name in older.values.keys() & newer.values.keys():
        left, right = older.values[name], newer.values[name]
        if name.endswith("_percent"):
            values[name] = (left * older.count + right * newer.count) / (older.count + newer.count)
        else:
            values[name] = min(left, right) if name == "disk_free_bytes" else max(left, right)
    return Row(index, older.count + newer.count, max(older.time, newer.time), values)


def rows_of(samples: Iterable[SystemSample], width_s: float) -> dict[int, Row]:
    return gathered(Row(int(s.time // width_s), 1, s.time, s.values) for s in samples)


def fitting(indexes: Iterable[int]) -> int:
    """By how much rows with these indexes must be widened so that there are no more than MOST_ROWS: a power of two."""
    left, times = set(indexes), 1
    while len(left) > MOST_ROWS:
        times *= 2
        left = {index // 2 for index in left}
    return times


def gathered(rows: Iterable[Row], times: int = 1) -> dict[int, Row]:
    """The same in rows `times` as wide, by index."""
    found: dict[int, Row] = {}
    for row in rows:
        index = row.index // times
        known = found.get(index)
        found[index] = joined(known, row, index) if known else Row(index, row.count, row.time, row.values)
    return found


def full_in_s(free: Sequence[tuple[float, float]]) -> float | None:
    """Seconds from the last sample until the disk is full, by the straight line that fits the last RECENT samples
    best: (time, free bytes), ascending. None while it does not fill up, or not within FARTHEST_S.

    Checkpoints make steps, of which a line through many samples is the mean.
    """
    recent = free[-RECENT:]
    if len(recent) < FEWEST:
        return None
    count = len(recent)
    mean_time = sum(time for time, _ in recent) / count
    mean_free = sum(left for _, left in recent) / count
    spread = sum((time - mean_time) ** 2 for time, _ in recent)
    if spread <= 0:
        return None
    slope = sum((time - mean_time) * (left - mean_free) for time, left in recent) / spread
    # A line that noise could have drawn is no forecast: what it explains must outweigh what it does not.
    explained = slope**2 * spread
    missed = sum((left - mean_free - slope * (time - mean_time)) ** 2 for time, left in recent)
    if slope >= 0 or explained < missed:
        return None
    seconds = recent[-1][1] / -slope
    return seconds if seconds <= FARTHEST_S else None


def forecast(free: Sequence[tuple[float, float]]) -> float | None:
    """The same where enough was measured to tell people: the fall shows in either half of the last RECENT samples, or
    the disk is full within REACH times what was measured. What a run writes as it starts is no trend."""
    seconds = full_in_s(free)
    if seconds is None or _in_halves(free) is not None:
        return seconds
    recent = free[-RECENT:]
    return seconds if seconds <= REACH * (recent[-1][0] - recent[0][0]) else None


def keeps_filling(free: Sequence[tuple[float, float]], within_s: float) -> float | None:
    """The same where it holds for all of the last RECENT samples and for either half of them: one large checkpoint is
    a step in one half, and no reason to alarm anybody. None where it will not be full `within_s`."""
    halves, seconds = _in_halves(free), full_in_s(free)
    if halves is None or seconds is None or max(seconds, *halves) > within_s:
        return None
    return seconds


def _in_halves(free: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """What either half of the last RECENT samples says; None where there are fewer, or one says nothing."""
    recent = free[-RECENT:]
    if len(recent) < RECENT:
        return None
    middle = RECENT // 2
    earlier, later = full_in_s(recent[:middle]), full_in_s(recent[middle:])
    return None if earlier is None or later is None else (earlier, later)
