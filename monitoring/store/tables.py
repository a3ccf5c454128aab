"""The store: steps go in, series come out. Simple rows with exact buckets of 4^k steps beside them.

This module is the whole interface. A packed form may stand behind it; nobody else touches rows and buckets.
Every function costs a fixed number of queries, whatever the length of the run. `Range` says what is meant of
each segment; later segments win where two hold the same step.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any, Final, NamedTuple, TypeVar

import orjson
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Count, Q, Sum

from monitoring.models import MetricBucket, MetricRow

from . import cells, grid
from .cells import Bucket, Cell
from .lines import Anomaly, Step, Value

T = TypeVar("T")

_AT_ONCE: Final = 200
"""Conditions of one query. Late steps all over a run are looked up in several."""


class Range(NamedTuple):
    """Steps `low` to `high`, both included, of one segment. `attempt` orders segments."""

    segment_id: int
    attempt: int
    low: int
    high: int


class Row(NamedTuple):
    attempt: int
    step: int
    time: float | None
    values: dict[str, Value]
    anomaly: Anomaly | None


class Written(NamedTuple):
    """`new` steps were not there before, `changed` are those and the ones that something new was logged for."""

    new: int
    changed: int


@dataclass(frozen=True)
class Changes:
    """Points newer than a version, in order; `complete` is False when there are too many to tell one by one."""

    points: dict[str, list[tuple[int, Value]]] = field(default_factory=dict)
    complete: bool = True


# --- In ---------------------------------------------------------------------------------------------------
# The way every line of every run takes: plain SQL, the same on SQLite and PostgreSQL, because building the queries
# took longer than running them. Several ranges are a UNION ALL and not an OR: with an OR, SQLite reads the whole
# segment.

_SELECT_ROWS: Final = """
    SELECT segment_id, step, "time", "values", anomaly_type, anomaly_message, since, version, late
    FROM monitoring_metricrow WHERE segment_id = %s AND step BETWEEN %s AND %s"""
_UPSERT_ROWS: Final = """
    INSERT INTO monitoring_metricrow
    (segment_id, step, "time", "values", anomaly_type, anomaly_message, since, version, late)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (segment_id, step) DO UPDATE SET "time" = excluded."time", "values" = excluded."values",
    anomaly_type = excluded.anomaly_type, anomaly_message = excluded.anomaly_message,
    version = excluded.version, late = excluded.late"""
_SELECT_BUCKETS: Final = """
    SELECT level, "index", "rows", cells FROM monitoring_metricbucket
    WHERE segment_id = %s AND level = %s AND "index" BETWEEN %s AND %s"""
_UPSERT_BUCKETS: Final = """
    INSERT INTO monitoring_metricbucket (segment_id, level, "index", "rows", cells) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (segment_id, level, "index") DO UPDATE SET "rows" = excluded."rows", cells = excluded.cells"""


class _Stored(NamedTuple):
    """A row as it stands in the table, in the order of its columns."""

    segment_id: int
    step: int
    time: float | None
    values: bytes
    anomaly_type: str
    anomaly_message: str
    since: int
    version: int
    late: bytes | None


def write(segment_id: int, steps: Mapping[int, Step], version: int) -> Written:
    """Merge steps into a segment and bring its buckets up to date. Call inside a transaction that holds the
    segment's stream; `version` is larger than all before. Steps that bring nothing new change nothing."""
    touched = sorted({step // grid.FACTOR for step in steps})
    with connection.cursor() as cursor:
        beside = _rows_of(cursor, segment_id, touched)
        changed: dict[int, _Stored] = {}
        values: dict[int, dict[str, Value]] = {}
        for step in steps.values():
            merged = _merged(segment_id, beside.get(step.step), step, version)
            if merged is not None:
                changed[step.step], values[step.step] = merged
        if not changed:
            return Written(0, 0)
        cursor.executemany(_UPSERT_ROWS, list(changed.values()))
        for number, row in beside.items():
            if number not in values:
                values[number] = orjson.loads(row.values)
        _write_buckets(cursor, segment_id, values, sorted({step // grid.FACTOR for step in changed}))
    return Written(sum(1 for step in changed if step not in beside), len(changed))


def _merged(segment_id: int, row: _Stored | None, step: Step, version: int) -> tuple[_Stored, dict[str, Value]] | None:
    """The row as it must be now, with its values, or None when it already is."""
    kind, message = (step.anomaly.type, step.anomaly.message) if step.anomaly else ("", "")
    if row is None:
        blob = orjson.dumps(step.values)
        return _Stored(segment_id, step.step, step.time, blob, kind, message, version, version, None), step.values
    known: dict[str, Value] = orjson.loads(row.values)
    newer = [name for name, value in step.values.items() if name not in known or known[name] != value]
    flagged = bool(kind) and (kind, message) != (row.anomaly_type, row.anomaly_message)
    if not newer and not flagged:
        return None
    late: dict[str, int] = orjson.loads(row.late) if row.late else {}
    values = known | step.values
    return (
        _Stored(
            segment_id,
            step.step,
            step.time if step.time is not None else row.time,
            orjson.dumps(values),
            kind or row.anomaly_type,
            message if kind else row.anomaly_message,
            row.since,
            version,
            orjson.dumps(late | dict.fromkeys(newer, version)),
        ),
        values,
    )


def _rows_of(cursor: CursorWrapper, segment_id: int, buckets: Sequence[int]) -> dict[int, _Stored]:
    """The rows there are in these buckets of level 1."""
    found: dict[int, _Stored] = {}
    for some in _portions(grid.runs(buckets)):
        edges = [(first * grid.FACTOR, last * grid.FACTOR + grid.FACTOR - 1) for first, last in some]
        cursor.execute(
            " UNION ALL ".join([_SELECT_ROWS] * len(some)),
            [value for low, high in edges for value in (segment_id, low, high)],
        )
        for columns in cursor.fetchall():
            row = _Stored(*columns)
            found[row.step] = row
    return found


def _write_buckets(
    cursor: CursorWrapper, segment_id: int, values: Mapping[int, Mapping[str, Value]], touched: Sequence[int]
) -> None:
    """Make the touched buckets of all levels anew, each from what is below it: exact whatever came late.

    `values` holds every step of the touched buckets of level 1.
    """
    known = _siblings(cursor, segment_id, touched)
    done: list[tuple[int, int, int, int, bytes]] = []
    for level in range(1, grid.TOP + 1):
        for index in touched:
            below = range(index * grid.FACTOR, index * grid.FACTOR + grid.FACTOR)
            if level == 1:
                bucket = cells.of_steps((step, values[step]) for step in below if step in values)
            else:
                bucket = cells.of_buckets(known[level - 1, i] for i in below if (level - 1, i) in known)
            known[level, index] = bucket
            done.append((segment_id, level, index, bucket.rows, cells.dump(bucket.cells)))
        touched = sorted({index // grid.FACTOR for index in touched})
    cursor.executemany(_UPSERT_BUCKETS, done)


def _siblings(cursor: CursorWrapper, segment_id: int, touched: Sequence[int]) -> dict[tuple[int, int], Bucket]:
    """The stored buckets that share a parent with a touched one, on every level but the top, and were not
    touched themselves."""
    spans: list[grid.Span] = []
    for level in range(1, grid.TOP):
        parents = sorted({index // grid.FACTOR for index in touched})
        own = set(touched)
        missing = [
            index
            for parent in parents
            for index in range(parent * grid.FACTOR, parent * grid.FACTOR + grid.FACTOR)
            if index not in own
        ]
        spans += [grid.Span(level, first, last) for first, last in grid.runs(missing)]
        touched = parents
    found: dict[tuple[int, int], Bucket] = {}
    for some in _portions(spans):
        cursor.execute(
            " UNION ALL ".join([_SELECT_BUCKETS] * len(some)),
            [value for span in some for value in (segment_id, *span)],
        )
        for level, index, rows_, blob in cursor.fetchall():
            found[level, index] = Bucket(rows_, cells.load(blob))
    return found


def _portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


# --- Out --------------------------------------------------------------------------------------------------


def count(ranges: Iterable[Range]) -> int:
    """How many steps are there. Steps that two ranges share count in both."""
    spans = _spans(ranges, grid.TOP)
    in_buckets = _buckets(spans).aggregate(rows=Sum("rows"))["rows"] or 0
    return int(in_buckets) + int(_rows(spans).aggregate(rows=Count("pk"))["rows"])


def rows(ranges: Iterable[Range], *, limit: int | None = None) -> list[Row]:
    """Steps as logged, ascending; a step that several ranges share comes once an attempt."""
    attempts = {part.segment_id: part.attempt for part in ranges}
    found = _rows(_spans(ranges, 0)).order_by("step", "segment__attempt")
    return [_row(row, attempts) for row in (found if limit is None else found[:limit])]


def flagged(ranges: Iterable[Range], *, limit: int, skip: int = 0) -> tuple[int, list[Row]]:
    """Steps the trainer flagged: how many, and the asked-for ones in ascending order."""
    attempts = {part.segment_id: part.attempt for part in ranges}
    found = _rows(_spans(ranges, 0)).exclude(anomaly_type="").order_by("step", "segment__attempt")
    return found.count(), [_row(row, attempts) for row in found[skip : skip + limit]]


def points(ranges: Sequence[Range], names: Sequence[str], level: int) -> dict[str, list[Cell]]:
    """For each metric its cells at a level, ascending, one a bucket that holds any. Level 0: the values."""
    spans = _spans(ranges, level)
    size = grid.width(level)
    attempts = {part.segment_id: part.attempt for part in ranges}
    parts: dict[int, list[tuple[int, int, dict[str, Cell]]]] = {}
    for segment_id, at, index, blob in _buckets(spans).values_list("segment_id", "level", "index", "cells"):
        first = index * grid.width(at)
        parts.setdefault(first // size, []).append((attempts[segment_id], first, cells.load(blob, names)))
    for segment_id, step, blob in _rows(spans).values_list("segment_id", "step", "values"):
        values = orjson.loads(blob)
        found = {name: cells.of_value(step, values[name]) for name in names if name in values}
        parts.setdefault(step // size, []).append((attempts[segment_id], step, found))
    series: dict[str, list[Cell]] = {name: [] for name in names}
    for _, pieces in sorted(parts.items()):
        pieces.sort(key=lambda piece: piece[:2])
        for name, cell in _latest(pieces, level).items():
            series[name].append(cell)
    return series


def whole(ranges: Sequence[Range], names: Sequence[str]) -> dict[str, Cell]:
    """One cell a metric over all the ranges."""
    found = points(ranges, names, grid.TOP)
    return {name: cells.join_all({name: cell} for cell in series)[name] for name, series in found.items() if series}


def filled(ranges: Sequence[Range], level: int) -> int:
    """How many buckets of a level the ranges reach into, at most; those without any step do not count."""
    spans = _spans(ranges, level)
    return int(_buckets(spans).aggregate(n=Count("pk"))["n"]) + 2 * len(ranges)


def newer(ranges: Sequence[Range], version: int, upto: int, limit: int) -> Changes:
    """What was logged after `version`, up to `upto`, each metric of a step at most once. With more than `limit`
    steps nothing, and `complete` is False."""
    bounds = {part.segment_id: part for part in ranges}
    # By version alone: with the steps in the condition, SQLite would look through all of them.
    found = list(
        MetricRow.objects.filter(segment_id__in=bounds, version__gt=version, since__lte=upto)
        .order_by()
        .values_list("step", "segment_id", "values", "since", "late")[: limit + 1]
    )
    if len(found) > limit:
        return Changes(complete=False)
    points: dict[str, dict[int, Value]] = {}
    for step, segment_id, blob, since, late in sorted(found, key=lambda row: (row[0], bounds[row[1]].attempt)):
        if not bounds[segment_id].low <= step <= bounds[segment_id].high:
            continue
        later: dict[str, int] = orjson.loads(late) if late else {}
        for name, value in orjson.loads(blob).items():
            if version < later.get(name, since) <= upto:
                points.setdefault(name, {})[step] = value
    return Changes({name: list(steps.items()) for name, steps in points.items()})


def _spans(ranges: Iterable[Range], level: int) -> list[tuple[int, grid.Span]]:
    return [(part.segment_id, span) for part in ranges for span in grid.cover(level, part.low, part.high)]


def _buckets(spans: Sequence[tuple[int, grid.Span]]) -> Any:
    wanted = [
        Q(segment_id=segment_id, level=span.level, index__range=(span.first, span.last))
        for segment_id, span in spans
        if span.level
    ]
    return MetricBucket.objects.filter(reduce(or_, wanted)).order_by() if wanted else MetricBucket.objects.none()


def _rows(spans: Sequence[tuple[int, grid.Span]]) -> Any:
    wanted = [
        Q(segment_id=segment_id, step__range=(span.first, span.last)) for segment_id, span in spans if not span.level
    ]
    return MetricRow.objects.filter(reduce(or_, wanted)).order_by() if wanted else MetricRow.objects.none()


def _row(row: MetricRow, attempts: Mapping[int, int]) -> Row:
    anomaly = Anomaly(row.anomaly_type, row.anomaly_message) if row.anomaly_type else None
    return Row(attempts[row.segment_id], row.step, row.time, orjson.loads(row.values), anomaly)


def _latest(pieces: Sequence[tuple[int, int, dict[str, Cell]]], level: int) -> dict[str, Cell]:
    """Pieces of one bucket as one. Of the same step the later attempt's value replaces the earlier's."""
    if level == 0:
        return {name: cell for _, _, found in pieces for name, cell in found.items()}
    return cells.join_all(found for _, _, found in pieces)
