"""What many steps of a metric come to, exactly: smallest, largest, last, how many. Pure.

A cell is made of values or of other cells, in any grouping, with the same outcome.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from .lines import Value


class Cell(NamedTuple):
    """One metric over a range of steps. `low` and `high` are None when no value was finite.

    `values` were logged, `odd` of them not finite; the last of those stands in `odd_value` at `odd_step`.
    """

    low: int | float | None
    high: int | float | None
    last: Value
    last_step: int
    values: int
    odd: int = 0
    odd_step: int | None = None
    odd_value: str | None = None


class Bucket(NamedTuple):
    """`rows` steps were logged in it, and this is what each metric came to."""

    rows: int
    cells: dict[str, Cell]


def of_value(step: int, value: Value) -> Cell:
    if isinstance(value, str):
        return Cell(None, None, value, step, 1, 1, step, value)
    return Cell(value, value, value, step, 1)


def join(first: Cell, second: Cell) -> Cell:
    """Both ranges together. Where both end on the same step, the second's last value counts."""
    newer = second if second.last_step >= first.last_step else first
    odd = second if second.odd_step is not None and second.odd_step >= (first.odd_step or 0) else first
    return Cell(
        first.low if second.low is None else second.low if first.low is None else min(first.low, second.low),
        first.high if second.high is None else second.high if first.high is None else max(first.high, second.high),
        newer.last,
        newer.last_step,
        first.values + second.values,
        first.odd + second.odd,
        odd.odd_step,
        odd.odd_value,
    )


def join_all(parts: Iterable[Mapping[str, Cell]]) -> dict[str, Cell]:
    whole: dict[str, Cell] = {}
    for part in parts:
        for name, cell in part.items():
            known = whole.get(name)
            whole[name] = cell if known is None else join(known, cell)
    return whole


def of_steps(steps: Iterable[tuple[int, Mapping[str, Value]]]) -> Bucket:
    """The bucket of these steps, given in ascending order."""
    rows = 0
    whole: dict[str, Cell] = {}
    for step, values in steps:
        rows += 1
        for name, value in values.items():
            cell = of_value(step, value)
            known = whole.get(name)
            whole[name] = cell if known is None else join(known, cell)
    return Bucket(rows, whole)


def of_buckets(buckets: Iterable[Bucket]) -> Bucket:
    """The bucket that holds these, given in ascending order."""
    parts = list(buckets)
    return Bucket(sum(part.rows for part in parts), join_all(part.cells for part in parts))


def dump(cells: Mapping[str, Cell]) -> bytes:
    return orjson.dumps({name: tuple(cell) if cell.odd else cell[:5] for name, cell in cells.items()})


def load(blob: bytes | memoryview, names: Iterable[str] | None = None) -> dict[str, Cell]:
    """The cells of a blob; with `names` only those."""
    raw: dict[str, list[Any]] = orjson.loads(blob)
    wanted = raw if names is None else [name for name in names if name in raw]
    return {name: Cell(*raw[name]) for name in wanted}
