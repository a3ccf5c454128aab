"""What the values of a metric come to over many steps, exactly: smallest, largest, sum, last, how many. Pure.

At level k a bucket holds the steps [i * 2^k, (i + 1) * 2^k), the same for every segment of a stream. Buckets are made
of values or of finer buckets, cut anywhere, with the same outcome; one that holds no value is left out.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CELL: Final = np.dtype(
    [("step", "<i8"), ("low", "<f8"), ("high", "<f8"), ("sum", "<f8"), ("last", "<f8"), ("count", "<u4")]
)
"""A bucket: its last step with a value and that value; of the `count` finite ones the smallest, largest and sum
(without any +inf, -inf and 0). Which bucket it is, its step tells."""
ODD: Final = np.dtype([("step", "<i8"), ("value", "<f8")])
"""The last value of a bucket that is no finite number."""
_HEAD: Final = struct.Struct("<II")


class Buckets(NamedTuple):
    """Ascending by step. `odd` has an entry for the buckets that have such values, not for the others."""

    cells: Array
    odd: Array


EMPTY: Final = Buckets(np.empty(0, CELL), np.empty(0, ODD))


def of_values(steps: Array, values: Array, level: int) -> Buckets:
    """`steps` int64, ascending, each once; `values` float64, as logged."""
    if not len(steps):
        return EMPTY
    finite = np.isfinite(values)
    odd = np.empty(0, ODD)
    if finite.all():
        low = high = total = values
    else:
        low, high, total = (np.where(finite, values, other) for other in (np.inf, -np.inf, 0.0))
        odd = np.empty(len(values) - np.count_nonzero(finite), ODD)
        odd["step"], odd["value"] = steps[~finite], values[~finite]
        odd = odd[_ends(odd["step"], level)]
    ends = _ends(steps, level)
    cells = np.empty(len(ends), CELL)
    cells["step"], cells["last"] = steps[ends], values[ends]
    if len(ends) == len(steps):
        cells["low"], cells["high"], cells["sum"], cells["count"] = low, high, total, finite
    else:
        _fold(cells, ends, low, high, total, finite)
    return Buckets(cells, odd)


def coarser(found: Buckets, level: int) -> Buckets:
    """The buckets of `level` that these come to. Neighbours may be parts of one bucket: they are joined."""
    cells, odd = found
    ends = _ends(cells["step"], level)
    if len(ends) != len(cells):
        joined = cells.take(ends)  # numpy looks at the fields of records one by one where they are indexed
        _fold(joined, ends, cells["low"], cells["high"], cells["sum"], cells["count"])
        cells = joined
    return Buckets(cells, odd[_ends(odd["step"], level)] if len(odd) else odd)


def together(parts: Sequence[Buckets], level: int) -> Buckets:
    """Parts that follow each other as one."""
    if not parts:
        return EMPTY
    if len(parts) == 1:
        return coarser(parts[0], level)
    # As bytes: of records, numpy would look at the types of each part anew.
    cells = np.frombuffer(b"".join([part.cells.tobytes() for part in parts]), CELL)
    odd = np.frombuffer(b"".join([part.odd.tobytes() for part in parts if len(part.odd)]), ODD)
    return coarser(Buckets(cells, odd), level)


def filled(steps: Array, level: int) -> int:
    """How many buckets of a level ascending steps fall into."""
    return len(_ends(steps, level))


def dump(found: Buckets) -> bytes:
    return _HEAD.pack(len(found.cells), len(found.odd)) + found.cells.tobytes() + found.odd.tobytes()


def load(blob: bytes | memoryview) -> Buckets:
    cells, odd = _HEAD.unpack_from(blob)
    return Buckets(
        np.frombuffer(blob, CELL, cells, _HEAD.size),
        np.frombuffer(blob, ODD, odd, _HEAD.size + cells * CELL.itemsize) if odd else EMPTY.odd,
    )


def _ends(steps: Array, level: int) -> Array:
    """Where each bucket has its last entry."""
    index = steps >> level
    return np.append(np.flatnonzero(index[1:] != index[:-1]), len(index) - 1) if len(index) else np.empty(0, np.intp)


def _fold(cells: Array, ends: Array, low: Array, high: Array, total: Array, count: Array) -> None:
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1] + 1
    cells["low"] = np.minimum.reduceat(low, starts)
    cells["high"] = np.maximum.reduceat(high, starts)
    with np.errstate(over="ignore", invalid="ignore"):
        cells["sum"] = np.add.reduceat(total, starts)
    cells["count"] = np.add.reduceat(count, starts, dtype=np.uint32)
