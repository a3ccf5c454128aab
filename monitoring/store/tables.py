"""Series and steps come out of the store, whatever stands as rows and whatever in chunks.

A range is met exactly. What is read for a series depends on its points, not on the length of the run: chunks of the
highest tier whose buckets are fine enough, smaller ones towards the edges of the range, and the values only where
nothing else will do. `Range` says what is meant of each segment; where two hold a step, the later one wins.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from operator import or_
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from django.db.models import Q
from numpy.typing import NDArray

from monitoring.models import FlaggedStep

from . import block, buckets, database, pack, writing
from .buckets import Buckets
from .database import Piece, Want
from .lines import Anomaly, Value

Array = NDArray[Any]

_TILED: Final = 5
"""Below this level, steps mostly follow too closely for buckets to be at hand."""


class Range(NamedTuple):
    """Steps `low` to `high`, both included, of one segment. `attempt` orders segments; `tops` is where the segment
    stands in the store (`writing.Shelf`): out of date, it only costs time."""

    segment_id: int
    attempt: int
    low: int
    high: int
    tops: tuple[int, ...] = ()


class Row(NamedTuple):
    attempt: int
    step: int
    time: float | None
    values: dict[str, Value]
    anomaly: Anomaly | None


@dataclass(frozen=True)
class Changes:
    """Points newer than a version, in order; `complete` is False when there are too many to tell one by one."""

    points: dict[str, list[tuple[int, Value]]] = field(default_factory=dict)
    complete: bool = True


class _Values(NamedTuple):
    steps: Array
    values: Array


# --- Series ---


def points(ranges: Sequence[Range], names: Sequence[str], level: int) -> dict[str, Buckets]:
    """For each metric its buckets at a level, ascending. At level 0 a bucket is a value."""
    # Rows first: what is packed in between then comes twice, which does no harm, and not never.
    latest = _latest(ranges, names)
    parts: dict[str, list[tuple[int, int, Buckets | _Values]]] = {name: [] for name in names}
    for at, first, name, found in _chunked(ranges, names, level):
        parts[name].append((at, first, found))
    for at, name, found in latest:
        parts[name].append((at, ranges[at].high + 1, found))
    return {name: _together(found, level) for name, found in parts.items()}


def _latest(ranges: Sequence[Range], names: Sequence[str]) -> Iterable[tuple[int, str, _Values]]:
    open_ended = [at for at, part in enumerate(ranges) if not part.tops or part.high > part.tops[0]]
    if not open_ended:
        return []
    rows = database.row_values([(ranges[at].segment_id, ranges[at].low, ranges[at].high) for at in open_ended])
    decoded = orjson.loads(b"[%s]" % b",".join([blob for _, _, blob in rows]))
    found = []
    for at, some in groupby(zip(rows, decoded, strict=True), key=lambda item: item[0][0]):
        mine = [(row[1], values) for row, values in some]
        for name in names:
            logged = [(step, values[name]) for step, values in mine if name in values]
            if logged:
                steps = np.fromiter((step for step, _ in logged), np.int64, len(logged))
                numbers = np.fromiter((value for _, value in logged), np.float64, len(logged))
                found.append((open_ended[at], name, _Values(steps, numbers)))
    return found


def _chunked(
    ranges: Sequence[Range], names: Sequence[str], level: int
) -> Iterator[tuple[int, int, str, Buckets | _Values]]:
    """(which range, first step, metric, what is there of it)."""
    top = (level - _TILED) // writing.WIDER + 1 if level >= _TILED else 0
    wants: list[tuple[int, int, Want]] = []
    for at, part in enumerate(ranges):
        wants += _behind_each_other(at, part, min(top, len(part.tops) - 1), level)
    while wants:
        found = database.pieces([want for _, _, want in wants], names)
        by_want: dict[int, list[Piece]] = {}
        for piece in found:
            by_want.setdefault(piece.want, []).append(piece)
            if piece.name is not None and piece.blob is not None:
                at, _, want = wants[piece.want]
                yield at, piece.first, piece.name, _content(piece, want)
        # What no chunk of a tier covered is looked for in the tier below.
        wants = [
            (at, tier - 1, _want(ranges[at], tier - 1, low, high, level))
            for number, (at, tier, want) in enumerate(wants)
            if tier
            for low, high in _gaps(want, by_want.get(number, []), ranges[at].tops[tier])
        ]


def _behind_each_other(at: int, part: Range, top: int, level: int) -> Iterator[tuple[int, int, Want]]:
    """The tiers of a run stand behind each other: each goes on where the one above it ends."""
    low = part.low
    for tier in range(max(top, 0), 0, -1):
        if low > part.high:
            return
        yield at, tier, _want(part, tier, low, part.high, level)
        low = max(low, part.tops[tier] + 1)
    if low <= part.high:
        yield at, 0, _want(part, 0, low, part.high, level)


def _want(part: Range, tier: int, low: int, high: int, level: int) -> Want:
    if tier:
        return Want(part.segment_id, (tier, tier), low, high, level)
    return Want(part.segment_id, (0, 1), low, high)


def _gaps(want: Want, found: Sequence[Piece], top: int) -> Iterator[tuple[int, int]]:
    """Where this tier has chunks that did not do: at the edges, and where buckets are too coarse."""
    high = min(want.high, top)
    edge = want.low
    spans = sorted({(piece.first, piece.last, piece.level <= (want.level or 0)) for piece in found})
    for number, (first, last, fits) in enumerate(spans):
        if not number and edge < first:
            yield edge, first - 1
        if not fits:
            yield first, last
        edge = last + 1
    if edge <= high:
        yield edge, high


def _content(piece: Piece, want: Want) -> Buckets | _Values:
    assert piece.blob is not None
    if want.level is not None:
        return buckets.load(piece.blob)
    steps = pack.load_ints(piece.steps, piece.rows)
    values, there = pack.load_values(piece.blob, piece.rows)
    if piece.first < want.low or piece.last > want.high:
        there = there & (steps >= want.low) & (steps <= want.high)
    return _Values(steps, values) if there.all() else _Values(steps[there], values[there])


def _together(parts: list[tuple[int, int, Buckets | _Values]], level: int) -> Buckets:
    parts.sort(key=lambda part: part[:2])
    found: list[Buckets] = []
    for is_values, some in groupby((part[2] for part in parts), key=lambda part: isinstance(part, _Values)):
        pieces: list[Any] = list(some)
        if is_values:
            found.append(buckets.of_values(*_each_once(pieces), level))
        else:
            found += pieces
    return buckets.together(found, level)


def _each_once(pieces: Sequence[_Values]) -> _Values:
    steps = np.concatenate([piece.steps for piece in pieces]) if len(pieces) > 1 else pieces[0].steps
    values = np.concatenate([piece.values for piece in pieces]) if len(pieces) > 1 else pieces[0].values
    if (steps[1:] > steps[:-1]).all():
        return _Values(steps, values)
    # Of a step that is there twice, the later counts.
    once, last = np.unique(steps[::-1], return_index=True)
    return _Values(once, values[::-1][last])


# --- Steps ---


def count(part: Range) -> int:
    """How many steps there are in a range."""
    found = database.counted(part.segment_id, part.low, part.high)
    for rows, blob in database.edges(part.segment_id, part.low, part.high):
        steps = pack.load_ints(blob, rows)
        found += int(np.count_nonzero((steps >= part.low) & (steps <= part.high)))
    return found


def rows(ranges: Iterable[Range], names: Sequence[str] | None = None) -> Iterator[Row]:
    """Steps as logged, ascending, with all metrics or these; a step that two ranges share comes once an attempt.
    Holds no more than one chunk at a time."""
    for part in ranges:
        latest = database.rows(part.segment_id, part.low, part.high)
        at = part.low
        while chunk := next(iter(database.chunks(part.segment_id, (0, 1), at, part.high, limit=1)), None):
            yield from _rows_of(part, writing.load(chunk, names), at)
            at = chunk.last + 1
        yield from _latest_rows(part, [row for row in latest if row.step >= at], names)


def _rows_of(part: Range, found: block.Block, low: int) -> Iterator[Row]:
    start, stop = np.searchsorted(found.steps, [low, part.high + 1])
    if start == stop:
        return
    flags = _flags(part.segment_id, int(found.steps[start]), int(found.steps[stop - 1]))
    # In portions: as Python's objects a chunk takes many times its room.
    for first in range(start, stop, writing.SMALL):
        last = min(first + writing.SMALL, stop)
        steps, times = found.steps[first:last].tolist(), found.times[first:last].tolist()
        values: list[dict[str, Value]] = [{} for _ in steps]
        for name, (numbers, there) in found.columns.items():
            for at in np.flatnonzero(there[first:last]).tolist():
                values[at][name] = block.value(float(numbers[first + at]))
        for step, time, row in zip(steps, times, values, strict=True):
            yield Row(part.attempt, step, None if math.isnan(time) else time, row, flags.get(step))


def _latest_rows(part: Range, found: Sequence[database.RowRecord], names: Sequence[str] | None) -> Iterator[Row]:
    flags = _flags(part.segment_id, found[0].step, found[-1].step) if found else {}
    for row in found:
        values = {name: _number(value) for name, value in orjson.loads(row.values).items()}
        if names is not None:
            values = {name: values[name] for name in names if name in values}
        yield Row(part.attempt, row.step, row.time, values, flags.get(row.step))


def flagged(ranges: Iterable[Range], *, limit: int, skip: int = 0) -> tuple[int, list[Row]]:
    """Steps the trainer flagged: how many, and the asked-for ones in ascending order, without their values."""
    attempts = {part.segment_id: part.attempt for part in ranges}
    wanted = [Q(segment_id=part.segment_id, step__range=(part.low, part.high)) for part in ranges]
    if not wanted:
        return 0, []
    found = FlaggedStep.objects.filter(reduce(or_, wanted)).order_by("step", "segment__attempt")
    return found.count(), [
        Row(attempts[flag.segment_id], flag.step, flag.time, {}, Anomaly(flag.anomaly_type, flag.anomaly_message))
        for flag in found[skip : skip + limit]
    ]


def last_values(ranges: Sequence[Range], names: Iterable[str]) -> dict[str, Value]:
    """The last value of each metric over all the ranges."""
    missing, found = set(names), dict[str, Value]()
    for part in reversed(ranges):
        for row in reversed(database.rows(part.segment_id, part.low, part.high)):
            values: dict[str, Value] = orjson.loads(row.values)
            found |= {name: _number(values[name]) for name in missing & values.keys()}
            missing -= values.keys()
        upto = part.high
        while missing and (latest := database.latest_with(part.segment_id, sorted(missing), upto)):
            upto = max(first for _, first in latest)
            [chunk] = database.chunks(part.segment_id, (0, 1), upto, upto)
            content = writing.load(chunk, sorted(name for name, first in latest if first == upto))
            within = (content.steps >= part.low) & (content.steps <= part.high)
            for name, (numbers, there) in content.columns.items():
                logged = np.flatnonzero(there & within)
                if len(logged):
                    found[name] = block.value(float(numbers[logged[-1]]))
                    missing.discard(name)
            upto -= 1
            if upto < part.low and chunk.first <= part.low:
                break
    return found


def newer(ranges: Sequence[Range], version: int, upto: int, limit: int) -> Changes:
    """What was logged after `version`, up to `upto`, each metric of a step at most once. With more than `limit`
    steps nothing, and `complete` is False."""
    bounds = {part.segment_id: part for part in ranges}
    if not bounds:
        return Changes()
    told: list[tuple[int, int, Mapping[str, Value]]] = []
    for row in database.newer_rows(list(bounds), version, upto):
        late: dict[str, int] = orjson.loads(row.late) if row.late else {}
        values: dict[str, Value] = orjson.loads(row.values)
        new = {name: value for name, value in values.items() if version < late.get(name, row.since) <= upto}
        told.append((row.step, row.segment_id, new))
    for chunk in database.newer_chunks(list(bounds), version):
        since = pack.load_ints(chunk.since, chunk.rows)
        fresh = np.flatnonzero((since > version) & (since <= upto))
        if len(told) + len(fresh) > limit:
            return Changes(complete=False)
        content = writing.load(chunk)
        for at in fresh.tolist():
            new = {
                name: block.value(float(values_[at])) for name, (values_, there) in content.columns.items() if there[at]
            }
            told.append((int(content.steps[at]), chunk.segment_id, new))
    if len(told) > limit:
        return Changes(complete=False)
    points: dict[str, dict[int, Value]] = {}
    for step, segment_id, values_of in sorted(told, key=lambda one: (one[0], bounds[one[1]].attempt)):
        if bounds[segment_id].low <= step <= bounds[segment_id].high:
            for name, value in values_of.items():
                points.setdefault(name, {})[step] = value
    return Changes({name: list(steps.items()) for name, steps in points.items()})


def _flags(segment_id: int, low: int, high: int) -> dict[int, Anomaly]:
    found = FlaggedStep.objects.filter(segment_id=segment_id, step__range=(low, high))
    return {
        step: Anomaly(kind, message)
        for step, kind, message in found.values_list("step", "anomaly_type", "anomaly_message")
    }


def _number(value: Value) -> Value:
    """The same of a row as of a chunk."""
    return value if isinstance(value, str) else float(value)
