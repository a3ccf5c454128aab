"""What can be asked about a stream. Query counts do not depend on the length of the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet

from monitoring import clip
from monitoring.models import Segment, Stream
from monitoring.store import grid, tables
from monitoring.store.cells import Cell, join
from monitoring.store.lines import Value
from monitoring.store.tables import Range, Row
from platform_site.common.selectors import projects_for

DEFAULT_POINTS: Final = 1500
MOST_POINTS: Final = 20_000
FEED_LIMIT: Final = 5_000
"""Steps that are told one by one to whoever has fallen behind; with more the series is read again."""

Point = tuple[int, Value, int | float | None, int | float | None]
"""Step, last value, smallest and largest finite value of its bucket."""


@dataclass(frozen=True)
class Series:
    """`resolution` steps a point at most; 1 means the very values logged. `odd` lists, for the metrics that have
    some, the last value of each point that was not finite."""

    resolution: int
    total_steps: int
    points: dict[str, list[Point]]
    odd: dict[str, list[tuple[int, str]]]


@dataclass(frozen=True)
class Feed:
    """What a listener at an older cursor has not seen. With `reset` it must forget what it has seen before."""

    points: dict[str, list[tuple[int, Value]]]
    cursor: int
    reset: bool = False


def streams_for(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Stream]:
    return Stream.objects.filter(project__in=projects_for(user))


def segments(stream_id: UUID) -> list[Segment]:
    return list(Segment.objects.filter(stream_id=stream_id).order_by("attempt"))


def parts_of(found: Sequence[Segment], attempt: int | None = None) -> list[clip.Part]:
    """The canonical series of a stream's segments; with `attempt` the whole of that one."""
    seen = [clip.Seen(s.pk, s.attempt, s.resumed_from, s.first_step, s.last_step) for s in found]
    if attempt is None:
        return clip.canonical(seen)
    return [
        clip.Part(s.segment_id, s.attempt, s.first_step, s.last_step)
        for s in seen
        if s.attempt == attempt and s.first_step is not None and s.last_step is not None
    ]


def metric_names(stream_id: UUID) -> list[str]:
    return list(Stream.objects.filter(pk=stream_id).values_list("names", flat=True).first() or [])


def series(
    found: UUID | Sequence[Segment],
    names: Sequence[str],
    *,
    start_step: int | None = None,
    end_step: int | None = None,
    points: int = DEFAULT_POINTS,
    attempt: int | None = None,
) -> Series:
    """At most `points` points a metric: the logged values when the range holds no more steps, otherwise one point
    a bucket of the smallest size that fits. The edges of the range, and of attempts, are met exactly.
    `found` is a stream, or its segments where they are at hand."""
    found = segments(found) if isinstance(found, UUID) else found
    parts = clip.within(parts_of(found, attempt), start_step, end_step)
    total = total_steps(parts, found)
    if not parts or not names:
        return Series(1, total, {name: [] for name in names}, {})
    level = _level(parts, total, points)
    lines = tables.points(_ranges(parts, found), names, level)
    cells = {name: _thinned(line, points) for name, line in lines.items()}
    return Series(
        grid.width(level),
        total,
        {name: [(c.last_step, c.last, c.low, c.high) for c in line] for name, line in cells.items()},
        {
            name: [(c.odd_step, c.odd_value) for c in line if c.odd_step is not None and c.odd_value is not None]
            for name, line in cells.items()
            if any(c.odd for c in line)
        },
    )


def total_steps(parts: Sequence[clip.Part], found: Sequence[Segment]) -> int:
    """Steps in these parts; one that two attempts logged counts once."""
    twice = 0
    for earlier, later in pairwise(parts):
        if later.low <= earlier.high:
            both = [part._replace(low=later.low, high=earlier.high) for part in (earlier, later)]
            logged = [row.step for row in tables.rows([Range(*part) for part in both])]
            twice += len(logged) - len(set(logged))
    return tables.count(_ranges(parts, found)) - twice


def rows(
    found: UUID | Sequence[Segment],
    *,
    start_step: int | None = None,
    end_step: int | None = None,
    attempt: int | None = None,
    limit: int | None = None,
) -> list[Row]:
    """Full rows as logged, ascending, at most `limit`."""
    found = segments(found) if isinstance(found, UUID) else found
    parts = clip.within(parts_of(found, attempt), start_step, end_step)
    return tables.rows([Range(*part) for part in parts], limit=limit)


def anomalies(
    found: UUID | Sequence[Segment], *, attempt: int | None = None, limit: int = 100, skip: int = 0
) -> tuple[int, list[Row]]:
    """How many steps the trainer flagged, and `limit` of them."""
    found = segments(found) if isinstance(found, UUID) else found
    return tables.flagged([Range(*part) for part in parts_of(found, attempt)], limit=limit, skip=skip)


def final_metrics(stream_id: UUID) -> dict[str, Value]:
    """The last value of every metric of the canonical series."""
    return {name: cell.last for name, cell in _whole(stream_id).items()}


def last_step(stream_id: UUID) -> int | None:
    """The last step that the latest attempt logged; before its first, the one it resumed from."""
    return Stream.objects.filter(pk=stream_id).values_list("last_step", flat=True).first()


def points_after(stream_id: UUID, cursor: int, *, limit: int = FEED_LIMIT) -> Feed | None:
    """What came after `cursor` (the version a listener has read up to), each value once. None: no such stream."""
    stream = Stream.objects.filter(pk=stream_id).values("version", "rebased_version", "names").first()
    if stream is None:
        return None
    version = stream["version"]
    if cursor == version:
        return Feed({}, version)
    found = segments(stream_id)
    if stream["rebased_version"] <= cursor < version:
        ranges = [Range(*part) for part in parts_of(found)]
        changes = tables.newer(ranges, cursor, version, limit)
        if changes.complete:
            return Feed(changes.points, version)
    snapshot = series(found, stream["names"])
    points = {name: [(step, value) for step, value, _, _ in line] for name, line in snapshot.points.items() if line}
    return Feed(points, version, reset=True)


def _whole(stream_id: UUID) -> dict[str, Cell]:
    found = segments(stream_id)
    return tables.whole(_ranges(parts_of(found), found), metric_names(stream_id))


def _ranges(parts: Sequence[clip.Part], found: Sequence[Segment]) -> list[Range]:
    """Ranges for reading buckets: an end at which the segment ends is moved to where a bucket ends, so that
    whole runs are read without edges."""
    ends = {s.pk: (s.first_step, s.last_step) for s in found}
    top = grid.width(grid.TOP)
    ranges = []
    for part in parts:
        first, last = ends[part.segment_id]
        low = part.low // top * top if first is not None and part.low <= first else part.low
        high = part.high // top * top + top - 1 if last is not None and part.high >= last else part.high
        ranges.append(Range(part.segment_id, part.attempt, low, high))
    return ranges


def _level(parts: Sequence[clip.Part], total: int, points: int) -> int:
    """The smallest level whose points fit."""
    if total <= points:
        return 0
    low, high = min(part.low for part in parts), max(part.high for part in parts)
    ranges = [Range(*part) for part in parts]
    level = grid.fitting(low, high, points)
    # Where few of the steps were logged, a finer level may still fit; where all were, the sum says that it cannot.
    while level > 1 and total <= points * grid.width(level - 1) and tables.filled(ranges, level - 1) <= points:
        level -= 1
    return level


def _thinned(line: list[Cell], points: int) -> list[Cell]:
    """Neighbours joined until there are no more than `points`; only needed beyond the highest level."""
    while len(line) > points:
        pairs = (line[i : i + 2] for i in range(0, len(line), 2))
        line = [join(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return line
