"""Metrics into the database and out again: `ingest`, `incremental`, `chart`."""

import os
import resource
import time
from pathlib import Path
from typing import Any, Final

import orjson
from django.conf import settings
from django.db import connection

from environments.transports.base import FileStat
from monitoring import selectors
from monitoring.services.sync import sync_stream

from .figures import Figures, spread, timed
from .filled import fill
from .sandbox import Run, line, redis_server

INGEST_STEPS: Final = 107_749
INGEST_ROUNDS: Final = 3
SMALL_MB, LARGE_MB = 1, 100
GROWN_BYTES: Final = 10_240
GROWTHS: Final = 40
CHART_STEPS: Final = (10_000, 300_000, 1_000_000)
CHART_METRICS: Final = 25
CHART_POINTS: Final = 1_000
LATEST: Final = 128
"""Steps that still stand as rows: half of what there can be."""


def ingest(figures: Figures) -> None:
    """A file of 100 MB, several times: each into a stream of its own, beside the parsing of the same bytes."""
    steps, rounds = figures.amount(INGEST_STEPS, 500), figures.amount(INGEST_ROUNDS, 1)
    ours, best = [], []
    with redis_server():
        for _ in range(rounds):
            run = Run(with_runner=False)
            _fill(run, steps)
            before = _database_bytes()
            started = time.perf_counter()
            sync_stream(run.id, run.transport)
            ours.append(steps / (time.perf_counter() - started))
            grown = _database_bytes() - before
            data = run.path.read_bytes()
            started = time.perf_counter()
            for one in data.splitlines():
                orjson.loads(one)
            best.append(steps / (time.perf_counter() - started))
            run.end()
            run.path.unlink()
    ours_p50, best_p50 = sorted(ours)[rounds // 2], sorted(best)[rounds // 2]
    figures.figures = {
        "steps": steps,
        "mb": round(len(data) / 1e6, 1),
        "steps_per_s": round(ours_p50),
        "database": connection.vendor,
        "database_mb": round(grown / 1e6, 1),
        "most_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }
    figures.limit = {"orjson_parse_steps_per_s": round(best_p50)}
    figures.ratios = {"of_parse": round(ours_p50 / best_p50, 4), "database_to_file": round(grown / len(data), 3)}
    figures.at_least("steps_per_s", ours_p50, 100_000)
    figures.at_least("of_parse", ours_p50 / best_p50, 0.2)
    figures.at_most("database_to_file", grown / len(data), 0.4)


def incremental(figures: Figures) -> None:
    large_mb, growths = figures.amount(LARGE_MB, SMALL_MB + 1), figures.amount(GROWTHS, 3)
    with redis_server():
        for size in (SMALL_MB, large_mb):
            run = Run(with_runner=False)
            step = _fill(run, size * 1_000_000 // len(line(1)))
            started = time.perf_counter()
            sync_stream(run.id, run.transport)
            filled = time.perf_counter() - started
            counting = _CountingTransport(run.transport)
            taken = []
            for _ in range(growths):
                grown = 0
                while grown < GROWN_BYTES:
                    step += 1
                    piece = line(step)
                    run.write(piece)
                    grown += len(piece)
                started = time.perf_counter()
                sync_stream(run.id, counting)
                taken.append(time.perf_counter() - started)
            figures.figures[f"{size}_mb"] = {
                "ms": spread(taken),
                "bytes_read": counting.bytes // growths,
                "first_sync_s": round(filled, 2),
            }
            figures.limit[f"{size}_mb_read_and_parse_ms"] = spread(_read_and_parse(run))
            run.end()
    figures.figures["database"] = connection.vendor
    large = figures.figures[f"{large_mb}_mb"]
    figures.ratios["large_to_small"] = round(large["ms"]["p50"] / figures.figures[f"{SMALL_MB}_mb"]["ms"]["p50"], 3)
    figures.at_most("ms", large["ms"]["p50"], 4)
    figures.at_most("bytes_read", large["bytes_read"], 16_384)


def chart(figures: Figures) -> None:
    with redis_server():
        for steps in figures.amount(CHART_STEPS, (1_000, 2_000)):
            run = Run(with_runner=False)
            name = fill(run.id, steps, CHART_METRICS)[3]
            _fill(run, LATEST, after=steps)
            sync_stream(run.id, run.transport)
            run.end()
            whole = timed(lambda run=run, name=name: selectors.series(run.id, [name], points=CHART_POINTS), 50)  # type: ignore[misc]
            middle = steps // 2
            zoom = timed(
                lambda run=run, middle=middle, name=name: selectors.series(  # type: ignore[misc]
                    run.id, [name], start_step=middle, end_step=middle + 500, points=CHART_POINTS
                ),
                50,
            )
            figures.figures[f"{steps}_steps_ms"] = {"whole": spread(whole), "raw_zoom_500": spread(zoom)}
            figures.at_most(f"whole_ms_{steps}", spread(whole)["p50"], 2)
            figures.at_most(f"raw_zoom_ms_{steps}", spread(zoom)["p50"], 10)
    figures.figures["database"] = connection.vendor
    figures.limit["blob_ms"] = spread(timed(_blob, 50))
    figures.ratios["whole_to_blob"] = round(spread(whole)["p50"] / figures.limit["blob_ms"]["p50"], 2)


class _CountingTransport:
    """The run's transport, with the bytes of its reads added up."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.bytes = 0

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        data: bytes = self._transport.read(path, offset, limit)
        self.bytes += len(data)
        return data

    def tail(self, path: str, offset: int, limit: int) -> tuple[FileStat | None, bytes]:
        found: FileStat | None
        found, data = self._transport.tail(path, offset, limit)
        self.bytes += len(data)
        return found, data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _fill(run: Run, steps: int, after: int = 0) -> int:
    """Write that many steps; the last one's number."""
    last = after + steps
    for first in range(after + 1, last + 1, 1000):
        run.write(b"".join(line(step) for step in range(first, min(first + 1000, last + 1))))
    return last


def _database_bytes() -> int:
    """What the database takes on disk, its log aside."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return Path(settings.DATABASES["default"]["NAME"]).stat().st_size
        cursor.execute("select pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def _read_and_parse(run: Run) -> list[float]:
    """The least it takes to look at 10 KB at the end of the file."""

    def look() -> None:
        with open(run.path, "rb") as file:
            file.seek(-GROWN_BYTES, os.SEEK_END)
            for one in file.read().split(b"\n")[1:-1]:
                orjson.loads(one)

    return timed(look, 50)


def _blob() -> None:
    """One blob of the size of a packed chart, from the database."""
    with connection.cursor() as cursor:
        size = CHART_POINTS * 4 * 8
        cursor.execute(
            "select zeroblob(%s)" if connection.vendor == "sqlite" else "select decode(repeat('00', %s), 'hex')", [size]
        )
        memoryview(cursor.fetchone()[0]).cast("d").tolist()
