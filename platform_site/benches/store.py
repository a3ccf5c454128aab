"""Metrics into the database and out again: `ingest`, `incremental`, `chart`."""

import os
import time
from typing import Any, Final

import orjson
from django.db import connection

from monitoring import selectors
from monitoring.services.sync import sync_stream

from .figures import Figures, spread, timed
from .sandbox import Run, line, redis_server

INGEST_STEPS: Final = 20_000
SMALL_MB, LARGE_MB = 1, 100
GROWN_BYTES: Final = 10_240
GROWTHS: Final = 40
CHART_STEPS: Final = (10_000, 100_000)
CHART_POINTS: Final = 1_000


def ingest(figures: Figures) -> None:
    steps = figures.amount(INGEST_STEPS, 500)
    with redis_server():
        run = Run(with_runner=False)
        _fill(run, steps)
        data = run.path.read_bytes()
        started = time.perf_counter()
        sync_stream(run.id, run.transport)
        took = time.perf_counter() - started
        started = time.perf_counter()
        for one in data.splitlines():
            orjson.loads(one)
        parse = time.perf_counter() - started
        run.end()
    ours, best = steps / took, steps / parse
    figures.figures = {"steps": steps, "mb": round(len(data) / 1e6, 1), "steps_per_s": round(ours)}
    figures.limit = {"orjson_parse_steps_per_s": round(best)}
    figures.ratios = {"of_parse": round(ours / best, 4)}
    figures.at_least("steps_per_s", ours, 100_000)


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
    large = figures.figures[f"{large_mb}_mb"]
    figures.ratios["large_to_small"] = round(large["ms"]["p50"] / figures.figures[f"{SMALL_MB}_mb"]["ms"]["p50"], 3)
    figures.at_most("ms", large["ms"]["p50"], 4)
    figures.at_most("bytes_read", large["bytes_read"], 16_384)


def chart(figures: Figures) -> None:
    name = "actor/metric_03"
    with redis_server():
        for steps in figures.amount(CHART_STEPS, (1_000, 2_000)):
            run = Run(with_runner=False)
            _fill(run, steps)
            sync_stream(run.id, run.transport)
            run.end()
            whole = timed(lambda run=run: selectors.series(run.id, [name], points=CHART_POINTS), 20)  # type: ignore[misc]
            middle = steps // 2
            zoom = timed(
                lambda run=run, middle=middle: selectors.series(  # type: ignore[misc]
                    run.id, [name], start_step=middle, end_step=middle + 500, points=CHART_POINTS
                ),
                20,
            )
            figures.figures[f"{steps}_steps_ms"] = {"whole": spread(whole), "raw_zoom_500": spread(zoom)}
            figures.at_most(f"whole_ms_{steps}", spread(whole)["p50"], 2)
            figures.at_most(f"raw_zoom_ms_{steps}", spread(zoom)["p50"], 10)
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

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _fill(run: Run, steps: int) -> int:
    """Write that many steps; the last one's number."""
    for first in range(1, steps + 1, 1000):
        run.write(b"".join(line(step) for step in range(first, min(first + 1000, steps + 1))))
    return steps


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
