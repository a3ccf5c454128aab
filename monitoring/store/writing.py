"""Steps go into the store. Everything here runs in the transaction of the sync that read them.

The latest steps of a segment stand as rows. 256 of them become a chunk of tier 0, 16 of those one of tier 1, and so
on: a chunk of tier 2 or higher says what 16 of the tier below come to. A step that comes late makes its chunk, and
what stands above it, anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import orjson

from monitoring.models import FlaggedStep, Segment

from . import buckets, database, pack
from .block import Block, Entry, joined, merged, pivot
from .database import ChunkRecord, ColumnRecord, RowRecord
from .lines import MAX_STEP, Step, Value

SMALL: Final = 256
FAN: Final = 16
LARGE: Final = SMALL * FAN
_FINEST: Final = 24
"""Steps a bucket of the finest level of a chunk, at least: buckets take six times the room of a value."""
WIDER: Final = 4
"""Levels from fine to coarse buckets of a chunk, and from those of a tier to the next: 2^4 = FAN."""


@dataclass(frozen=True)
class Shelf:
    """Where a segment stands in the store. `tops` has the last step that is in a chunk of tier 0 or 1, and then the
    last one in a chunk of tier 1, 2, …; `last` the last step of all."""

    segment_id: int
    last: int | None = None
    rows: int = 0
    unpacked: int = 0
    small: int = 0
    tops: tuple[int, ...] = ()


def shelf_of(segment: Segment) -> Shelf:
    return Shelf(segment.pk, segment.last_step, segment.rows, segment.unpacked, segment.small, tuple(segment.tops))


class Written(NamedTuple):
    """`new` steps were not there before; `changed` says whether anything is other than before. Whoever read up to a
    version below `rebased` cannot be told of the changes one by one."""

    shelf: Shelf
    new: int
    changed: bool
    rebased: int | None = None


def write(shelf: Shelf, steps: Mapping[int, Step], version: int) -> Written:
    """Merge steps into a segment, last value wins. `version` of the stream is larger than all before. Steps that
    bring nothing new change nothing."""
    flagged = _flag(shelf.segment_id, [step for step in steps.values() if step.anomaly is not None])
    packed = shelf.tops[0] if shelf.tops else -1
    late = [step for step in steps.values() if step.step <= packed]
    before, rebased = shelf.rows, None
    if late:
        shelf, rewritten = _rewrite(shelf, sorted(late, key=lambda step: step.step), version)
        rebased = version if rewritten else None
    changed = flagged or rebased is not None
    if len(late) < len(steps):
        fresh = [steps[step] for step in sorted(steps) if step > packed]
        shelf, appended, overtaken = _append(shelf, fresh, version)
        changed = changed or appended
        rebased = max(filter(None, (rebased, overtaken)), default=None)
    return Written(shelf, shelf.rows - before, changed, rebased)


def seal(shelf: Shelf) -> Shelf:
    """Pack what still stands as rows or small chunks: for a run that has ended."""
    entries = [_entry(row) for row in database.rows(shelf.segment_id, 0, MAX_STEP)]
    blocks = [load(chunk) for chunk in database.chunks(shelf.segment_id, (0, 0), 0, MAX_STEP)]
    whole = joined([*blocks, *([pivot(entries)] if entries else [])]) if blocks or entries else None
    if whole is None:
        return shelf
    if entries:
        database.drop_rows(shelf.segment_id, entries[-1].step)
    shelf = _large(replace(shelf, unpacked=0), whole)
    return _promote(shelf, 1)


# --- The latest steps ---


def _append(shelf: Shelf, steps: list[Step], version: int) -> tuple[Shelf, bool, int | None]:
    """Steps behind all that is packed, ascending. Whether anything changed, and whose listeners cannot be told one
    by one."""
    if shelf.last is None or steps[0].step > shelf.last:
        new, last, changed = len(steps), steps[-1].step, list[Entry]()
    else:
        known = {row.step: _entry(row) for row in database.rows(shelf.segment_id, steps[0].step, MAX_STEP)}
        changed = [entry for step in steps if (entry := _merged(known.get(step.step), step, version)) is not None]
        if not changed:
            return shelf, False, None
        new, last, steps = sum(1 for entry in changed if entry.step not in known), max(*known, steps[-1].step), []
    shelf = replace(shelf, rows=shelf.rows + new, unpacked=shelf.unpacked + new, last=last)
    if shelf.unpacked >= SMALL:
        shelf, overtaken = _pack(shelf, changed, steps, version)
        return shelf, True, overtaken
    database.put_rows([_record(shelf.segment_id, entry) for entry in [*changed, *_entries(steps, version)]])
    return shelf, True, None


def _pack(shelf: Shelf, changed: list[Entry], steps: list[Step], version: int) -> tuple[Shelf, int | None]:
    """The rows, with `changed` on top of them and `steps` behind them, into chunks as far as they go."""
    entries: list[Entry] = []
    if shelf.unpacked > len(steps):
        stored = {row.step: _entry(row) for row in database.rows(shelf.segment_id, 0, MAX_STEP)}
        every = stored | {entry.step: entry for entry in changed}
        entries = [every[step] for step in sorted(every)]
    block = joined([*([pivot(entries)] if entries else []), *([pivot(steps, version)] if steps else [])])
    count = len(block) // SMALL * SMALL
    database.drop_rows(shelf.segment_id, int(block.steps[count - 1]))
    rest = [entry for entry in entries[count:] if entry.version == version]
    database.put_rows(
        [
            _record(shelf.segment_id, entry)
            for entry in [*rest, *_entries(steps[max(0, count - len(entries)) :], version)]
        ]
    )
    # What came later to a step is known of rows alone.
    overtaken = max((entry.version for entry in entries[:count] if entry.late), default=None)
    return add(replace(shelf, unpacked=len(block) - count), block.cut(0, count)), overtaken


def _entries(steps: Iterable[Step], version: int) -> list[Entry]:
    return [Entry(step.step, step.time, step.values, version, version) for step in steps]


def add(shelf: Shelf, block: Block) -> Shelf:
    """Steps behind all that is packed, as chunks. The last ones may be fewer than usual."""
    grown = False
    while shelf.small + len(block) >= LARGE:
        take = max(0, LARGE - shelf.small)
        small = database.chunks(shelf.segment_id, (0, 0), 0, MAX_STEP) if shelf.small else []
        shelf = _large(shelf, joined([*map(load, small), block.cut(0, take)]), [chunk.id for chunk in small])
        block, grown = block.cut(take, len(block)), True
    for start in range(0, len(block), SMALL):
        part = block.cut(start, start + SMALL)
        _put(shelf.segment_id, 0, part)
        shelf = replace(shelf, small=shelf.small + len(part), tops=_raised(shelf.tops, 0, int(part.steps[-1])))
    return _promote(shelf, 1) if grown else shelf


def _large(shelf: Shelf, block: Block, small: Sequence[int] = ()) -> Shelf:
    """One chunk of tier 1 in place of all of tier 0."""
    if small or shelf.small:
        ids = small or [chunk.id for chunk in database.chunks(shelf.segment_id, (0, 0), 0, MAX_STEP, bare=True)]
        database.drop_chunks(ids)
    _put(shelf.segment_id, 1, block)
    last = int(block.steps[-1])
    return replace(shelf, small=0, tops=_raised(_raised(shelf.tops, 0, last), 1, last))


def _promote(shelf: Shelf, tier: int) -> Shelf:
    """As long as there are 16 chunks of a tier that nothing stands above, put one above them."""
    top = shelf.tops[tier + 1] if len(shelf.tops) > tier + 1 else -1
    below = database.chunks(shelf.segment_id, (tier, tier), top + 1, MAX_STEP, bare=True)
    for start in range(0, len(below) - FAN + 1, FAN):
        made = _summarise(shelf.segment_id, tier + 1, below[start : start + FAN])
        shelf = replace(shelf, tops=_raised(shelf.tops, tier + 1, made.last))
    return _promote(shelf, tier + 1) if len(below) >= FAN else shelf


def _merged(known: Entry | None, step: Step, version: int) -> Entry | None:
    """The step as it must be now, or None when it already is."""
    if known is None:
        return Entry(step.step, step.time, step.values, version, version)
    newer = [name for name, value in step.values.items() if name not in known.values or known.values[name] != value]
    if not newer:
        return None
    return known._replace(
        time=step.time if step.time is not None else known.time,
        values={**known.values, **step.values},
        version=version,
        late={**(known.late or {}), **dict.fromkeys(newer, version)},
    )


def _entry(row: RowRecord) -> Entry:
    late: dict[str, int] | None = orjson.loads(row.late) if row.late else None
    values: dict[str, Value] = orjson.loads(row.values)
    return Entry(row.step, row.time, values, row.since, row.version, late)


def _record(segment_id: int, entry: Entry) -> RowRecord:
    late = orjson.dumps(entry.late) if entry.late else None
    values = orjson.dumps(entry.values)
    return RowRecord(segment_id, entry.step, entry.time, values, entry.since, entry.version, late)


# --- Steps that come late ---


class _Moved(NamedTuple):
    """A chunk began at `first`; what stands in its place reaches from `low` to `high`."""

    first: int
    low: int
    high: int


def _rewrite(shelf: Shelf, steps: Sequence[Step], version: int) -> tuple[Shelf, bool]:
    """Steps among those that are packed. A step between two chunks belongs to the one before it."""
    known = database.chunks(shelf.segment_id, (0, 1), 0, MAX_STEP, bare=True)
    owners = np.searchsorted([chunk.first for chunk in known], [step.step for step in steps], "right") - 1
    by_owner: dict[int, list[Entry]] = {}
    for owner, step in zip(owners.tolist(), steps, strict=True):
        by_owner.setdefault(max(owner, 0), []).append(Entry(step.step, step.time, step.values, version, version))
    moved: list[_Moved] = []
    changed = False
    for owner, entries in by_owner.items():
        [chunk] = database.chunks(shelf.segment_id, (0, 1), known[owner].first, known[owner].first)
        old = load(chunk)
        block = merged(old, pivot(entries))
        if block is None:
            continue
        changed = True
        database.drop_chunks([chunk.id])
        size = LARGE if chunk.tier else SMALL
        pieces = max(1, len(block) // size)
        for cut in range(pieces):
            _put(shelf.segment_id, chunk.tier, block.cut(len(block) * cut // pieces, len(block) * (cut + 1) // pieces))
        new = len(block) - len(old)
        low, high = int(block.steps[0]), int(block.steps[-1])
        tops = _raised(shelf.tops, 1, high) if chunk.tier else shelf.tops
        shelf = replace(shelf, rows=shelf.rows + new, small=shelf.small + (0 if chunk.tier else new), tops=tops)
        if chunk.tier:
            moved.append(_Moved(chunk.first, low, high))
    return _renew(shelf, 2, moved), changed


def _renew(shelf: Shelf, tier: int, below: Sequence[_Moved]) -> Shelf:
    """Make anew what stands above chunks that changed."""
    moved: list[_Moved] = []
    for chunk in database.chunks(shelf.segment_id, (tier, tier), 0, MAX_STEP, bare=True) if below else []:
        own = [one for one in below if chunk.first <= one.first <= chunk.last]
        if not own:
            continue
        low, high = min(chunk.first, *(one.low for one in own)), max(chunk.last, *(one.high for one in own))
        parts = database.chunks(shelf.segment_id, (tier - 1, tier - 1), low, high, bare=True)
        database.drop_chunks([chunk.id])
        made = _summarise(shelf.segment_id, tier, parts)
        shelf = replace(shelf, tops=_raised(shelf.tops, tier, made.last))
        moved.append(_Moved(chunk.first, made.first, made.last))
    return _renew(shelf, tier + 1, moved) if moved else shelf


# --- Chunks ---


def load(chunk: ChunkRecord, names: Sequence[str] | None = None) -> Block:
    """The steps of a chunk of tier 0 or 1, with all metrics or these."""
    found = database.columns_of([chunk.id], names) if names is None or names else []
    return unpacked(chunk, [(name, values) for _, name, values in found])


def unpacked(chunk: ChunkRecord, columns: Iterable[tuple[str, bytes]]) -> Block:
    return Block(
        pack.load_ints(chunk.steps, chunk.rows),
        pack.load_times(chunk.times),
        pack.load_ints(chunk.since, chunk.rows),
        {name: pack.load_values(values, chunk.rows) for name, values in columns},
    )


def _put(segment_id: int, tier: int, block: Block) -> None:
    level = _finest(block) if tier else 0
    columns = []
    for name, (values, there) in block.columns.items():
        coarse = fine = b""
        if tier:
            found = buckets.of_values(block.steps[there], values[there], level)
            fine = buckets.dump(found)
            coarse = buckets.dump(buckets.coarser(found, level + WIDER))
        columns.append(ColumnRecord(0, name, coarse, fine, pack.dump_values(values, there)))
    database.put_chunk(
        ChunkRecord(
            0,
            segment_id,
            tier,
            int(block.steps[0]),
            int(block.steps[-1]),
            len(block),
            level,
            int(block.since.max()),
            pack.dump_ints(block.steps),
            pack.dump_times(block.times),
            pack.dump_ints(block.since),
        ),
        columns,
    )


def _summarise(segment_id: int, tier: int, below: Sequence[ChunkRecord]) -> ChunkRecord:
    level = max(chunk.level for chunk in below) + WIDER
    order = {chunk.id: at for at, chunk in enumerate(below)}
    parts: dict[str, list[tuple[int, bytes]]] = {}
    for chunk_id, name, fine in database.buckets_of(order):
        parts.setdefault(name, []).append((order[chunk_id], fine))
    columns = []
    for name, blobs in parts.items():
        found = buckets.together([buckets.load(blob) for _, blob in sorted(blobs)], level)
        coarse = buckets.coarser(found, level + WIDER)
        columns.append(ColumnRecord(0, name, buckets.dump(coarse), buckets.dump(found), b""))
    count = sum(chunk.rows for chunk in below)
    made = ChunkRecord(0, segment_id, tier, below[0].first, below[-1].last, count, level, 0, b"", b"", b"")
    database.put_chunk(made, columns)
    return made


def _finest(block: Block) -> int:
    most = max(1, len(block) // _FINEST)
    level = 0
    while buckets.filled(block.steps, level) > most:
        level += 1
    return level


def _raised(tops: tuple[int, ...], tier: int, last: int) -> tuple[int, ...]:
    if tier == len(tops):
        return (*tops, last)
    return (*tops[:tier], max(tops[tier], last), *tops[tier + 1 :])


def _flag(segment_id: int, steps: Sequence[Step]) -> bool:
    """Keep what the trainer said of these steps; whether it was news."""
    if not steps:
        return False
    found = FlaggedStep.objects.filter(segment_id=segment_id, step__in=[step.step for step in steps])
    known = {flag.step: (flag.anomaly_type, flag.anomaly_message) for flag in found}
    rows = [
        FlaggedStep(
            segment_id=segment_id,
            step=step.step,
            time=step.time,
            anomaly_type=step.anomaly.type,
            anomaly_message=step.anomaly.message,
        )
        for step in steps
        if step.anomaly is not None and known.get(step.step) != (step.anomaly.type, step.anomaly.message)
    ]
    FlaggedStep.objects.bulk_create(
        rows,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["segment", "step"],
        update_fields=["time", "anomaly_type", "anomaly_message"],
    )
    return bool(rows)
