"""The tables of the store in plain SQL: building these queries with the ORM took longer than running them.

SQLite and PostgreSQL differ in how many rows are put in fastest, and in what a cursor is; all else is the same
statement on both. Questions about several ranges are no OR: with one, SQLite reads the whole segment.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from django.db import connection, connections
from django.db.backends.utils import CursorWrapper

from .lines import MAX_STEP

_ROW: Final = 'segment_id, step, "time", "values", since, version, late'
_CHUNK: Final = 'id, segment_id, tier, "first", "last", "count", level, newest, steps, times, since'
_NO_ID: Final = _CHUNK.removeprefix("id, ")
_COLUMN: Final = 'chunk_id, name, coarse, fine, "values"'
_TOGETHER: Final = 32
"""Rows a statement: one costs as much to send as all of a sync, and 32 of the widest are some megabytes."""
_VALUES: Final = -1
"""In the place of a level: the values themselves."""
_COPY_TYPES: Final = ("int8", "text", "bytea", "bytea", "bytea")


class RowRecord(NamedTuple):
    segment_id: int
    step: int
    time: float | None
    values: bytes
    since: int
    version: int
    late: bytes | None


class ChunkRecord(NamedTuple):
    id: int
    segment_id: int
    tier: int
    first: int
    last: int
    rows: int
    level: int
    newest: int
    steps: bytes
    times: bytes
    since: bytes


class ColumnRecord(NamedTuple):
    chunk_id: int
    name: str
    coarse: bytes
    fine: bytes
    values: bytes


class Want(NamedTuple):
    """Chunks of a segment: in `tiers` those that reach into `low` to `high`, with their values; or, with a `level`,
    those that lie inside, with buckets that are no coarser."""

    segment_id: int
    tiers: tuple[int, int]
    low: int
    high: int
    level: int | None = None


class Piece(NamedTuple):
    """A chunk that was wanted, with one of the metrics asked for. `name` is None where it has none of them, `blob`
    where its buckets are too coarse."""

    want: int
    first: int
    last: int
    rows: int
    level: int
    steps: bytes
    name: str | None
    blob: bytes | None


def all_of(sql: str, parameters: Sequence[Any]) -> list[Any]:
    with _cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def run(sql: str, parameters: Sequence[Any]) -> None:
    with _cursor() as cursor:
        cursor.execute(sql, parameters)


def _cursor() -> CursorWrapper:
    """On PostgreSQL one that sends and gets bytes as they are. Django's own writes them as text in twice the room, and
    that took longer than the rest of a question."""
    # What `django.db.connection` stands for: each look through that costs some microseconds.
    here = connections[connection.alias]
    if here.vendor != "postgresql":
        return here.cursor()
    here.ensure_connection()
    psycopg: Any = here.Database  # type: ignore[attr-defined]
    binary = psycopg.Cursor(here.connection)
    binary.format = psycopg.pq.Format.BINARY
    return here.make_debug_cursor(binary) if here.queries_logged else here.make_cursor(binary)


# --- Rows ---


def rows(segment_id: int, low: int, high: int, limit: int | None = None) -> list[RowRecord]:
    end = "" if limit is None else f" LIMIT {limit:d}"
    return [
        RowRecord(*columns)
        for columns in all_of(
            f"SELECT {_ROW} FROM monitoring_metricrow WHERE segment_id = %s AND step BETWEEN %s AND %s"  # noqa: S608
            f" ORDER BY step{end}",
            [segment_id, low, high],
        )
    ]


def row_values(ranges: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, bytes]]:
    """For ranges of (segment, low, high): (which range, step, values), each range ascending."""
    one = 'SELECT %s, step, "values" FROM monitoring_metricrow WHERE segment_id = %s AND step BETWEEN %s AND %s'
    sql = " UNION ALL ".join([one] * len(ranges)) + " ORDER BY 1, 2"
    return all_of(sql, [value for at, part in enumerate(ranges) for value in (at, *part)])


def put_rows(records: Sequence[RowRecord]) -> None:
    """Each of another step."""
    for start in range(0, len(records), _TOGETHER):
        part = records[start : start + _TOGETHER]
        run(
            f"INSERT INTO monitoring_metricrow ({_ROW})"  # noqa: S608
            f" VALUES {', '.join(['(%s, %s, %s, %s, %s, %s, %s)'] * len(part))}"
            ' ON CONFLICT (segment_id, step) DO UPDATE SET "time" = excluded."time", "values" = excluded."values",'
            " version = excluded.version, late = excluded.late",
            [value for record in part for value in record],
        )


def drop_rows(segment_id: int, upto: int) -> None:
    run("DELETE FROM monitoring_metricrow WHERE segment_id = %s AND step <= %s", [segment_id, upto])


# --- Chunks ---


def chunks(
    segment_id: int, tiers: tuple[int, int], low: int, high: int, *, bare: bool = False, limit: int | None = None
) -> list[ChunkRecord]:
    """Those that reach into the range, ascending; `bare` without steps, times and versions."""
    wanted = _CHUNK.replace("steps, times, since", "NULL, NULL, NULL") if bare else _CHUNK
    end = "" if limit is None else f" LIMIT {limit:d}"
    return [
        ChunkRecord(*columns)
        for columns in all_of(
            f"SELECT {wanted} FROM monitoring_metricchunk WHERE segment_id = %s AND tier BETWEEN %s AND %s"  # noqa: S608
            f' AND "first" <= %s AND "last" >= %s ORDER BY "first"{end}',
            [segment_id, *tiers, high, low],
        )
    ]


def columns_of(chunk_ids: Iterable[int], names: Sequence[str] | None = None) -> list[tuple[int, str, bytes]]:
    """(chunk, metric, values)."""
    ids = list(chunk_ids)
    sql = f'SELECT chunk_id, name, "values" FROM monitoring_metriccolumn WHERE chunk_id IN {_list(ids)}'  # noqa: S608
    return all_of(sql if names is None else f"{sql} AND name IN {_list(names)}", [*ids, *(names or ())])


def buckets_of(chunk_ids: Iterable[int]) -> list[tuple[int, str, bytes]]:
    """(chunk, metric, fine)."""
    ids = list(chunk_ids)
    return all_of(
        f"SELECT chunk_id, name, fine FROM monitoring_metriccolumn WHERE chunk_id IN {_list(ids)}",  # noqa: S608
        ids,
    )


def pieces(wants: Sequence[Want], names: Sequence[str]) -> list[Piece]:
    """Of each want ascending."""
    if not wants:
        return []
    # Joined with the wants as a table: as a UNION ALL of one question each, planning them took PostgreSQL longer than
    # answering them. The columns of VALUES have these names on both; CROSS JOIN keeps SQLite from beginning with c.
    parameters: list[Any] = []
    for at, (segment_id, tiers, low, high, level) in enumerate(wants):
        parameters += [at, segment_id, *tiers]
        parameters += (0, high, low, MAX_STEP, _VALUES) if level is None else (low, high, low, high, level)
    found = all_of(
        'SELECT w.column1, c."first", c."last", c."count", c.level, c.steps, m.name,'  # noqa: S608
        f' CASE WHEN w.column9 = {_VALUES} THEN m."values" WHEN c.level + 4 <= w.column9 THEN m.coarse'
        " WHEN c.level <= w.column9 THEN m.fine END"
        f" FROM (VALUES {', '.join(['(%s, %s, %s, %s, %s, %s, %s, %s, %s)'] * len(wants))}) w"
        " CROSS JOIN monitoring_metricchunk c"
        f" LEFT JOIN monitoring_metriccolumn m ON m.chunk_id = c.id AND m.name IN {_list(names)}"
        " WHERE c.segment_id = w.column2 AND c.tier BETWEEN w.column3 AND w.column4"
        ' AND c."first" BETWEEN w.column5 AND w.column6 AND c."last" BETWEEN w.column7 AND w.column8',
        [*parameters, *names],
    )
    return sorted(map(Piece._make, found), key=lambda piece: piece[:2])


def counted(segment_id: int, low: int, high: int) -> int:
    """Steps in rows, and in chunks that lie wholly in the range."""
    [[in_rows, in_chunks]] = all_of(
        "SELECT (SELECT COUNT(*) FROM monitoring_metricrow WHERE segment_id = %s AND step BETWEEN %s AND %s),"
        ' (SELECT COALESCE(SUM("count"), 0) FROM monitoring_metricchunk'
        ' WHERE segment_id = %s AND tier BETWEEN 0 AND 1 AND "first" >= %s AND "last" <= %s)',
        [segment_id, low, high] * 2,
    )
    return int(in_rows) + int(in_chunks)


def edges(segment_id: int, low: int, high: int) -> list[tuple[int, bytes]]:
    """(count, steps) of the chunks that lie partly in the range."""
    return all_of(
        'SELECT "count", steps FROM monitoring_metricchunk WHERE segment_id = %s AND tier BETWEEN 0 AND 1'
        ' AND "first" <= %s AND "last" >= %s AND NOT ("first" >= %s AND "last" <= %s)',
        [segment_id, high, low, low, high],
    )


def latest_with(segment_id: int, names: Sequence[str], upto: int) -> list[tuple[str, int]]:
    """For each metric the beginning of the latest chunk that begins by `upto` and has it."""
    return all_of(
        'SELECT m.name, MAX(c."first") FROM monitoring_metricchunk c'  # noqa: S608
        f" JOIN monitoring_metriccolumn m ON m.chunk_id = c.id AND m.name IN {_list(names)}"
        ' WHERE c.segment_id = %s AND c.tier BETWEEN 0 AND 1 AND c."first" <= %s GROUP BY m.name',
        [*names, segment_id, upto],
    )


def newer_chunks(segment_ids: Sequence[int], version: int) -> list[ChunkRecord]:
    return [
        ChunkRecord(*columns)
        for columns in all_of(
            f"SELECT {_CHUNK} FROM monitoring_metricchunk WHERE segment_id IN {_list(segment_ids)}"  # noqa: S608
            " AND tier <= 1 AND newest > %s",
            [*segment_ids, version],
        )
    ]


def newer_rows(segment_ids: Sequence[int], version: int, upto: int) -> list[RowRecord]:
    return [
        RowRecord(*columns)
        for columns in all_of(
            f"SELECT {_ROW} FROM monitoring_metricrow WHERE segment_id IN {_list(segment_ids)}"  # noqa: S608
            " AND version > %s AND since <= %s",
            [*segment_ids, version, upto],
        )
    ]


def put_chunk(record: ChunkRecord, columns: Sequence[ColumnRecord]) -> None:
    """A new chunk with its columns; the ids in them are not looked at."""
    marks = ", ".join(["%s"] * (len(ChunkRecord._fields) - 1))
    [[chunk_id]] = all_of(
        f"INSERT INTO monitoring_metricchunk ({_NO_ID}) VALUES ({marks}) RETURNING id",  # noqa: S608
        record[1:],
    )
    filled = [(chunk_id, *column[1:]) for column in columns]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Hex in a statement would be twice the bytes to send and parse.
            with cursor.copy(f"COPY monitoring_metriccolumn ({_COLUMN}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(_COPY_TYPES)
                for column in filled:
                    copy.write_row(column)
        else:
            cursor.executemany(
                f"INSERT INTO monitoring_metriccolumn ({_COLUMN}) VALUES (%s, %s, %s, %s, %s)",  # noqa: S608
                filled,
            )


def drop_chunks(chunk_ids: Sequence[int]) -> None:
    ids = _list(chunk_ids)
    run(f"DELETE FROM monitoring_metriccolumn WHERE chunk_id IN {ids}", chunk_ids)  # noqa: S608
    run(f"DELETE FROM monitoring_metricchunk WHERE id IN {ids}", chunk_ids)  # noqa: S608


def _list(items: Sequence[object]) -> str:
    return f"({', '.join(['%s'] * len(items))})"
