"""What can be asked about a stream. Query counts do not depend on the length of the run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Final
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import F, QuerySet

from monitoring import clip
from monitoring.models import BadLine, KeyMetric, Segment, Stream
from monitoring.store import block, buckets, tables
from monitoring.store.buckets import Buckets
from monitoring.store.lines import Value
from monitoring.store.tables import Range, Row
from platform_site.common import plain
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


def key_metrics(user: AbstractBaseUser | AnonymousUser, name: str, ordering: str) -> QuerySet[KeyMetric]:
    """A first-class metric of all runs that have it, by last, low or high; runs without a value come last."""
    by = F(ordering.removeprefix("-"))
    order = by.desc(nulls_last=True) if ordering.startswith("-") else by.asc(nulls_last=True)
    return KeyMetric.objects.filter(name=name, stream__in=streams_for(user)).order_by(order, "stream_id")


def segments(stream_id: UUID) -> list[Segment]:
    return plain.select(Segment, {"stream_id": stream_id}, order=["attempt"])


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
    a bucket of the smallest power of two of steps that fits. The edges of the range, and of attempts, are met exactly.
    `found` is a stream, or its segments where they are at hand."""
    found = segments(found) if isinstance(found, UUID) else found
    parts = clip.within(parts_of(found, attempt), start_step, end_step)
    total = total_steps(parts, found)
    if not parts or not names:
        return Series(1, total, {name: [] for name in names}, {})
    # No bucket holds more than 2^level steps; where they lie unevenly, fewer levels up than this never do.
    level = (-(-max(total, 1) // points) - 1).bit_length()
    lines = tables.points(_ranges(parts, found), names, level)
    while max(len(line.cells) for line in lines.values()) > points:
        level += 1
        lines = {name: buckets.coarser(line, level) for name, line in lines.items()}
    return Series(
        2**level,
        total,
        {name: _points(line) for name, line in lines.items()},
        {
            name: [(step, str(block.value(value))) for step, value in line.odd.tolist()]
            for name, line in lines.items()
            if len(line.odd)
        },
    )


def total_steps(parts: Sequence[clip.Part], found: Sequence[Segment]) -> int:
    """Steps in these parts; one that two attempts logged counts once."""
    by_id = {segment.pk: segment for segment in found}
    total = 0
    for part in parts:
        whole = by_id[part.segment_id]
        is_whole = (part.low, part.high) == (whole.first_step, whole.last_step)
        total += whole.rows if is_whole else tables.count(tables.Range(*part))
    for earlier, later in pairwise(parts):
        if later.low <= earlier.high:
            both = [part._replace(low=later.low, high=earlier.high) for part in (earlier, later)]
            logged = [row.step for row in tables.rows([Range(*part) for part in both], names=())]
            total -= len(logged) - len(set(logged))
    return total


def rows(
    found: UUID | Sequence[Segment],
    *,
    start_step: int | None = None,
    end_step: int | None = None,
    attempt: int | None = None,
    limit: int | None = None,
) -> list[Row]:
    """Full rows as logged, ascending, at most `limit`."""
    return list(islice(iterate_rows(found, start_step=start_step, end_step=end_step, attempt=attempt), limit))


def iterate_rows(
    found: UUID | Sequence[Segment],
    names: Sequence[str] | None = None,
    *,
    start_step: int | None = None,
    end_step: int | None = None,
    attempt: int | None = None,
) -> Iterator[Row]:
    """Rows as logged, with all metrics or these, ascending, a chunk of steps at a time: for whatever goes through a
    whole run."""
    found = segments(found) if isinstance(found, UUID) else found
    parts = clip.within(parts_of(found, attempt), start_step, end_step)
    return tables.rows([Range(*part) for part in parts], names)


def bad_lines(found: Sequence[Segment], *, limit: int, skip: int = 0) -> tuple[int, list[BadLine]]:
    """How many lines of these segments could not be used, and those that were kept, in the order of the files."""
    kept = BadLine.objects.filter(segment__in=found).select_related("segment")
    page = kept.order_by("segment__attempt", "generation", "offset")[skip : skip + limit]
    return sum(segment.bad_lines for segment in found), list(page)


def anomalies(
    found: UUID | Sequence[Segment], *, attempt: int | None = None, limit: int = 100, skip: int = 0
) -> tuple[int, list[Row]]:
    """How many steps the trainer flagged, and `limit` of them."""
    found = segments(found) if isinstance(found, UUID) else found
    return tables.flagged([Range(*part) for part in parts_of(found, attempt)], limit=limit, skip=skip)


def final_metrics(stream_id: UUID) -> dict[str, Value]:
    """The last value of every metric of the canonical series."""
    found = segments(stream_id)
    return tables.last_values(_ranges(parts_of(found), found), metric_names(stream_id))


@dataclass(frozen=True)
class Extremes:
    """Of a metric over its whole series. `low` and `high` are None when no value was finite."""

    last: float
    last_step: int
    low: float | None
    low_step: int | None
    high: float | None
    high_step: int | None


def extremes(stream_id: UUID, names: Sequence[str]) -> dict[str, Extremes]:
    """Of those metrics that were logged. A step of `low` and `high` is the last of the narrow range that holds it,
    where the run is too long to be looked through."""
    found = segments(stream_id)
    lines = series(found, names, points=MOST_POINTS).points
    told: dict[str, Extremes] = {}
    for name, line in lines.items():
        if line:
            finite = [(low, high, step) for step, _, low, high in line if low is not None and high is not None]
            low = min(finite, key=lambda one: one[0], default=None)
            high = max(finite, key=lambda one: one[1], default=None)
            step, last, _, _ = line[-1]
            told[name] = Extremes(float(last), step, low and low[0], low and low[2], high and high[1], high and high[2])
    return told


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


def _ranges(parts: Sequence[clip.Part], found: Sequence[Segment]) -> list[Range]:
    tops = {segment.pk: tuple(segment.tops) for segment in found}
    return [Range(*part, tops[part.segment_id]) for part in parts]


def _points(line: Buckets) -> list[Point]:
    cells = line.cells
    steps, last, low, high = (cells[name].tolist() for name in ("step", "last", "low", "high"))
    if not len(line.odd):
        return list(zip(steps, last, low, high, strict=True))
    return [
        (step, block.value(value), *((smallest, largest) if count else (None, None)))
        for step, value, smallest, largest, count in zip(steps, last, low, high, cells["count"].tolist(), strict=True)
    ]
