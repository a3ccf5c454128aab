"""All rows of a run as a file, piece by piece: CSV, JSON and Parquet. Pure, but for the rows it is given."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Final

import orjson

from monitoring.store.lines import Value
from monitoring.store.tables import Row

PORTION: Final = 256
"""Rows of a piece."""
ROW_GROUP: Final = 4096
"""Rows that Parquet keeps together."""
FIXED: Final = ("attempt", "step", "time", "anomaly_type", "anomaly_message")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def as_csv(rows: Iterable[Row], names: Sequence[str]) -> Iterator[bytes]:
    """With a column a metric, empty where it was not logged. A text that a spreadsheet would take for a formula gets
    an apostrophe in front."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(map(_harmless, [*FIXED, *names]))
    for some in _portions(rows, PORTION):
        for row in some:
            kind, message = (row.anomaly.type, row.anomaly.message) if row.anomaly else ("", "")
            fixed = (row.attempt, row.step, row.time, _harmless(kind), _harmless(message))
            writer.writerow([*fixed, *(row.values.get(name) for name in names)])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def as_json(rows: Iterable[Row], names: Sequence[str]) -> Iterator[bytes]:
    """One array of rows, in the form of `metrics/rows/`."""
    separator = b"[\n"
    for some in _portions(rows, PORTION):
        yield separator + b",\n".join(orjson.dumps(as_object(row)) for row in some)
        separator = b",\n"
    yield b"[]\n" if separator == b"[\n" else b"\n]\n"


def as_parquet(rows: Iterable[Row], names: Sequence[str]) -> Iterator[bytes]:
    """Columns as in the CSV, metrics as doubles, null where not logged."""
    # At use: it takes as much memory as half the platform at rest.
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    schema = arrow.schema(
        [("attempt", arrow.int32()), ("step", arrow.int64()), ("time", arrow.float64())]
        + [("anomaly_type", arrow.string()), ("anomaly_message", arrow.string())]
        + [(name, arrow.float64()) for name in names if name not in FIXED]
    )
    sink = _Pieces()
    with parquet.ParquetWriter(sink, schema) as writer:
        for some in _portions(rows, ROW_GROUP):
            columns: list[list[Any]] = [
                [row.attempt for row in some],
                [row.step for row in some],
                [row.time for row in some],
                [row.anomaly.type if row.anomaly else None for row in some],
                [row.anomaly.message if row.anomaly else None for row in some],
            ]
            columns += [[_double(row.values.get(name)) for row in some] for name in schema.names[len(FIXED) :]]
            writer.write_table(arrow.table(columns, schema=schema))
            yield sink.taken()
    yield sink.taken()


KINDS: Final[dict[str, tuple[str, Callable[[Iterable[Row], Sequence[str]], Iterator[bytes]]]]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "json": ("application/json", as_json),
    "parquet": ("application/vnd.apache.parquet", as_parquet),
}
"""Ending of the file -> its media type, and what makes it."""


def as_object(row: Row) -> dict[str, Any]:
    """A row as the API gives it."""
    return {
        "attempt": row.attempt,
        "step": row.step,
        "time": row.time,
        "metrics": row.values,
        "anomaly": {"type": row.anomaly.type, "message": row.anomaly.message} if row.anomaly else None,
    }


class _Pieces(io.RawIOBase):
    """A file that is only written to, and handed on as it grows."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _double(value: Value | None) -> float | None:
    return None if value is None else float(value)


def _portions(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
