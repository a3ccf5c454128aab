"""Columns as bytes: whole numbers, times and values of the steps of a chunk. Pure.

A missing value is told from a logged NaN by a bitmap of presence, which is left out where every step has a value.
"""

import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Blob = bytes | memoryview

_RUN: Final = struct.Struct("<cqq")
_EVEN, _PLAIN = b"=", b"z"
_ALL, _SOME = b"a", b"p"


def dump_ints(numbers: Array) -> bytes:
    """int64. Evenly spaced ones (steps mostly are) take 17 bytes."""
    spacing = int(numbers[1] - numbers[0]) if len(numbers) > 1 else 0
    if not len(numbers) or (np.diff(numbers) == spacing).all():
        return _RUN.pack(_EVEN, int(numbers[0]) if len(numbers) else 0, spacing)
    return _PLAIN + zlib.compress(np.diff(numbers, prepend=0).astype("<i8").tobytes(), 1)


def load_ints(blob: Blob, count: int) -> Array:
    if blob[:1] == _EVEN:
        _, first, spacing = _RUN.unpack(blob)
        even: Array = first + spacing * np.arange(count, dtype=np.int64)
        return even
    found: Array = np.cumsum(np.frombuffer(zlib.decompress(blob[1:]), "<i8", count), dtype=np.int64)
    return found


def dump_times(times: Array) -> bytes:
    return times.astype("<f8").tobytes()


def load_times(blob: Blob) -> Array:
    return np.frombuffer(blob, "<f8")


def dump_values(values: Array, present: Array) -> bytes:
    """float64 and bool, both one a step."""
    if present.all():
        return _ALL + values.astype("<f8").tobytes()
    return _SOME + np.packbits(present).tobytes() + values[present].astype("<f8").tobytes()


def load_values(blob: Blob, count: int) -> tuple[Array, Array]:
    """Values (NaN where there is none) and presence."""
    if blob[:1] == _ALL:
        return np.frombuffer(blob, "<f8", count, 1), np.ones(count, bool)
    size = -(-count // 8)
    present = np.unpackbits(np.frombuffer(blob, np.uint8, size, 1), count=count).astype(bool)
    values = np.full(count, np.nan)
    values[present] = np.frombuffer(blob, "<f8", -1, 1 + size)
    return values, present
