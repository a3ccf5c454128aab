"""From a line written to the message on an open socket, through watcher, queue, worker, database, Redis and web."""

import asyncio
import threading
import time
from html import unescape
from typing import Any, Final

import orjson
from websockets.asyncio.client import connect

from .figures import Figures, spread
from .sandbox import Platform, Run, line, redis_server

WRITTEN: Final = "bench/written_at"
SETTLE_S: Final = 3.0
GOALS_MS: Final = (100.0, 250.0)
"""With one job, with many."""
LOADS: Final = ((1, 100, 0.15), (50, 12, 1.0))
"""Jobs, lines of each, seconds between two of them."""


def measure(figures: Figures) -> None:
    loads = figures.amount(LOADS, ((1, 5, 0.15), (2, 3, 0.3)))
    with redis_server(), Platform(with_worker=True) as platform:
        for (jobs, lines, spacing_s), goal in zip(loads, GOALS_MS, strict=True):
            before, started = platform.cpu_s(), time.monotonic()
            program, page = asyncio.run(_follow(platform, jobs, lines, spacing_s))
            busy = {name: used - before[name] for name, used in platform.cpu_s().items()}
            figures.figures[f"{jobs}_jobs_ms"] = {"program": spread(program), "page": spread(page)}
            figures.figures[f"{jobs}_jobs_cores"] = {
                name: round(used / (time.monotonic() - started), 3) for name, used in busy.items()
            }
            if lines * jobs != len(program):
                figures.figures[f"{jobs}_jobs_lost"] = lines * jobs - len(program)
            p95 = max(spread(program)["p95"], spread(page)["p95"])
            figures.at_most(f"p95_ms_{jobs}_jobs", p95, goal)
        figures.limit["write_and_wake_ms"] = spread(_pipe())


async def _follow(platform: Platform, jobs: int, lines: int, spacing_s: float) -> tuple[list[float], list[float]]:
    """Seconds from write to receipt, on the sockets of programs and of one page."""
    loop = asyncio.get_running_loop()
    runs = await loop.run_in_executor(None, lambda: [Run(with_runner=True) for _ in range(jobs)])
    program: list[float] = []
    page: list[float] = []
    try:
        watching = [
            asyncio.create_task(_watch(platform, f"/ws/monitoring/{run.id}/live/?format=json", program, lines))
            for run in runs
        ]
        watching.append(asyncio.create_task(_watch(platform, f"/ws/monitoring/{runs[0].id}/live/", page, lines)))
        await asyncio.sleep(SETTLE_S)
        writer = threading.Thread(target=_write, args=(runs, lines, spacing_s))
        writer.start()
        _, late = await asyncio.wait(watching, timeout=lines * spacing_s + 15)
        for task in late:
            task.cancel()
        await loop.run_in_executor(None, writer.join)
    finally:
        for run in runs:
            await loop.run_in_executor(None, run.end)
    return program, page


def _write(runs: list[Run], lines: int, spacing_s: float) -> None:
    """Runs write one after the other, spread over the spacing, as unrelated trainers would."""
    started = time.monotonic()
    for step in range(1, lines + 1):
        for number, run in enumerate(runs):
            due = started + (step + number / len(runs)) * spacing_s
            time.sleep(max(0.0, due - time.monotonic()))
            run.write(line(step, **{WRITTEN: time.time()}))


async def _watch(platform: Platform, path: str, taken: list[float], lines: int) -> None:
    seen = 0
    async with connect(
        platform.socket_url(path), additional_headers=platform.headers, compression=None, max_size=None
    ) as opened:
        while seen < lines:
            text = await opened.recv()
            now = time.time()
            for _, written in _points(str(text)).get(WRITTEN, []):
                taken.append(now - written)
                seen += 1


def _points(text: str) -> dict[str, list[tuple[int, Any]]]:
    """The points of a message, JSON or page."""
    if text.startswith("{"):
        message = orjson.loads(text)
        points: dict[str, list[tuple[int, Any]]] = message.get("points", {}) if message["type"] == "metrics" else {}
        return points
    _, found, rest = text.partition(' points="')
    return orjson.loads(unescape(rest.partition('"')[0])) if found else {}


def _pipe() -> list[float]:
    """What it costs to wake another thread: the least there is."""
    event, answer = threading.Event(), threading.Event()
    taken: list[float] = []

    def wait() -> None:
        for _ in range(200):
            event.wait()
            event.clear()
            answer.set()

    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(200):
        started = time.perf_counter()
        event.set()
        answer.wait()
        answer.clear()
        taken.append(time.perf_counter() - started)
    thread.join()
    return taken
