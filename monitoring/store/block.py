"""Some steps of a segment as columns. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lines import Step, Value

Array = NDArray[Any]

NAMES_OF_ODD: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}


class Entry(NamedTuple):
    """A step before it is packed. `since`, `version` and `late` are those of `monitoring.models.MetricRow`."""

    step: int
    time: float | None
    values: Mapping[str, Value]
    since: int
    version: int
    late: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Block:
    """`steps` and `since` int64, ascending and each step once; `times` float64, NaN where unknown. A column is
    values (float64) and their presence (bool); a metric that none of the steps logged has none."""

    steps: Array
    times: Array
    since: Array
    columns: dict[str, tuple[Array, Array]]

    def __len__(self) -> int:
        return len(self.steps)

    def cut(self, start: int, stop: int) -> "Block":
        columns = {name: (values[start:stop], there[start:stop]) for name, (values, there) in self.columns.items()}
        return Block(
            self.steps[start:stop],
            self.times[start:stop],
            self.since[start:stop],
            {name: column for name, column in columns.items() if column[1].any()},
        )


def pivot(entries: Sequence[Entry] | Sequence[Step], since: int | None = None) -> Block:
    """Entries, or steps that came with version `since`, ascending. Those with the same metrics in the same order are
    turned at once."""
    count = len(entries)
    logged: list[Mapping[str, Value]] = [entry.values for entry in entries]
    groups: dict[tuple[str, ...], list[int]] = {}
    for at, row in enumerate(logged):
        groups.setdefault(tuple(row), []).append(at)
    columns: dict[str, tuple[Array, Array]] = {}
    for names, places in groups.items():
        if not names:
            continue
        # Words such as "NaN" are read as the numbers they name.
        flat = np.fromiter(
            chain.from_iterable([logged[at].values() for at in places]), np.float64, len(places) * len(names)
        )
        table = np.ascontiguousarray(flat.reshape(len(places), len(names)).T)
        if len(places) == count:
            there = np.ones(count, bool)
            columns.update({name: (table[i], there) for i, name in enumerate(names)})
            continue
        rows = np.array(places)
        for i, name in enumerate(names):
            values, there = columns.setdefault(name, (np.full(count, np.nan), np.zeros(count, bool)))
            values[rows], there[rows] = table[i], True
    return Block(
        np.fromiter([entry.step for entry in entries], np.int64, count),
        np.fromiter([math.nan if entry.time is None else entry.time for entry in entries], np.float64, count),
        np.full(count, since, np.int64)
        if since is not None
        else np.fromiter((entry.since for entry in entries if isinstance(entry, Entry)), np.int64, count),
        columns,
    )


def joined(blocks: Sequence[Block]) -> Block:
    """Blocks that follow each other as one."""
    if len(blocks) == 1:
        return blocks[0]
    count = sum(map(len, blocks))
    columns: dict[str, tuple[Array, Array]] = {}
    start = 0
    for block in blocks:
        stop = start + len(block)
        for name, (values, there) in block.columns.items():
            whole = columns.setdefault(name, (np.full(count, np.nan), np.zeros(count, bool)))
            whole[0][start:stop], whole[1][start:stop] = values, there
        start = stop
    return Block(
        np.concatenate([block.steps for block in blocks]),
        np.concatenate([block.times for block in blocks]),
        np.concatenate([block.since for block in blocks]),
        columns,
    )


def merged(known: Block, late: Block) -> Block | None:
    """`known` with what `late` says on top of it: its values win, steps that are new come in between. None when it
    says nothing that was not known."""
    steps = np.union1d(known.steps, late.steps)
    old, new = np.searchsorted(steps, known.steps), np.searchsorted(steps, late.steps)
    if len(steps) == len(known) and not any(_news(known.columns.get(name), late, name, new) for name in late.columns):
        return None
    times, since = np.full(len(steps), np.nan), np.empty(len(steps), np.int64)
    since[new], times[old] = late.since, known.times
    since[old] = known.since
    timed = ~np.isnan(late.times)
    times[new[timed]] = late.times[timed]
    columns: dict[str, tuple[Array, Array]] = {}
    for block, at in ((known, old), (late, new)):
        for name, (values, there) in block.columns.items():
            whole = columns.setdefault(name, (np.full(len(steps), np.nan), np.zeros(len(steps), bool)))
            whole[0][at[there]], whole[1][at[there]] = values[there], True
    return Block(steps, times, since, columns)


def _news(column: tuple[Array, Array] | None, late: Block, name: str, at: Array) -> bool:
    """Whether a metric of `late` says something that `column` does not; `at` are its places there."""
    values, there = late.columns[name]
    if column is None:
        return True
    known, was = column[0][at[there]], column[1][at[there]]
    return not was.all() or not np.array_equal(known, values[there], equal_nan=True)


def value(number: float) -> Value:
    """A number as it is told to people and programs."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else NAMES_OF_ODD[number]


def values(numbers: Iterable[float]) -> list[Value]:
    return [value(number) for number in numbers]
