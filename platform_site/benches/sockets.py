"""Open live pages: memory of each, time to reach all, database connections held."""

import asyncio
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import orjson
import psutil
from django.conf import settings
from django.db import connections
from websockets.asyncio.client import ClientConnection, connect

from monitoring.services.sync import sync_stream

from .figures import Figures, spread
from .sandbox import Platform, Run, line, redis_server

COUNTS: Final = (100, 1000)
ROUNDS: Final = 5
AT_ONCE: Final = 50
REST_S: Final = 0.6
"""Between two rounds: longer than the pace of fragments, so that each is a first one."""


def measure(figures: Figures) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    with redis_server():
        for count in figures.amount(COUNTS, (10,)):
            with Platform(with_worker=False) as platform:
                ours = figures.figures[f"{count}_sockets"] = asyncio.run(_ours(platform, count))
            with _bare_server() as (url, pid):
                best = figures.limit[f"{count}_bare_sockets"] = asyncio.run(_bare(url, pid, count))
    figures.ratios["kib_each"] = round(ours["kib_each"] / best["kib_each"], 2)
    figures.ratios["reach_all"] = round(ours["reach_all_ms"]["p50"] / best["reach_all_ms"]["p50"], 2)
    figures.at_most("kib_each", ours["kib_each"], 60)
    figures.at_most("reach_all_ms", ours["reach_all_ms"]["p50"], 400)
    figures.at_most("connections_held", ours["connections_held"], 0)


async def _ours(platform: Platform, count: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    run = await loop.run_in_executor(None, lambda: Run(with_runner=False))
    url = platform.socket_url(f"/ws/monitoring/{run.id}/live/?format=json")
    step = 0

    async def change() -> float:
        nonlocal step
        step += 1
        run.write(line(step))
        started = time.perf_counter()
        await loop.run_in_executor(None, _sync, run)
        return started

    async with _Crowd(url, platform.headers, platform.web_pid, count) as crowd:
        found = await crowd.measured(change)
        await asyncio.sleep(1.0)
        found["connections_held"] = await loop.run_in_executor(None, platform.open_databases)
    run.end()
    found["database"] = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
    return found


async def _bare(url: str, pid: int, count: int) -> dict[str, Any]:
    text = orjson.dumps({"type": "metrics", "line": line(1).decode()}).decode()
    async with _Crowd(url, {}, pid, count) as crowd:

        async def change() -> float:
            started = time.perf_counter()
            await crowd.sockets[0].send(text)
            return started

        return await crowd.measured(change)


class _Crowd:
    """Many clients of one address."""

    def __init__(self, url: str, headers: Mapping[str, str], pid: int, count: int) -> None:
        self._url = url
        self._headers = headers
        self._server = psutil.Process(pid)
        self._count = count
        self._before = 0
        self._opening_s = 0.0
        self.sockets: list[ClientConnection] = []

    async def __aenter__(self) -> "_Crowd":
        # Warm: code loaded, threads and caches there, so that what follows is the sockets' own.
        for opened in [await self._one() for _ in range(5)]:
            await opened.close()
        await asyncio.sleep(0.5)
        self._before = self._server.memory_info().rss
        started = time.perf_counter()
        for first in range(0, self._count, AT_ONCE):
            self.sockets += await asyncio.gather(*(self._one() for _ in range(min(AT_ONCE, self._count - first))))
        self._opening_s = time.perf_counter() - started
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(opened.close() for opened in self.sockets))

    async def measured(self, change: Callable[[], Awaitable[float]]) -> dict[str, Any]:
        """`change` makes something to tell and answers when it began."""
        await asyncio.sleep(1.0)
        each = (self._server.memory_info().rss - self._before) / self._count / 1024
        reached = []
        for _ in range(ROUNDS):
            waiting = [asyncio.create_task(_until(opened, "metrics")) for opened in self.sockets]
            await asyncio.sleep(REST_S)
            started = await change()
            await asyncio.gather(*waiting)
            reached.append(time.perf_counter() - started)
        return {
            "opening_s": round(self._opening_s, 2),
            "kib_each": round(each, 1),
            "reach_all_ms": spread(reached),
        }

    async def _one(self) -> ClientConnection:
        opened = await connect(
            self._url, additional_headers=self._headers, compression=None, ping_interval=None, open_timeout=60
        )
        await _until(opened, "progress")
        return opened


@contextmanager
def _bare_server() -> Iterator[tuple[str, int]]:
    """Address and process id."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.listen(2048)
        program = [sys.executable, "-m", "uvicorn", "platform_site.benches.bare:app", "--fd", str(listening.fileno())]
        options = ["--ws", "websockets-sansio", "--ws-per-message-deflate", "false", "--lifespan", "off"]
        started = subprocess.Popen(
            [*program, *options, "--log-level", "critical"],
            cwd=settings.BASE_DIR,
            pass_fds=[listening.fileno()],
        )
        try:
            yield f"ws://127.0.0.1:{port}/", started.pid
        finally:
            started.terminate()
            started.wait()


def _sync(run: Run) -> None:
    sync_stream(run.id, run.transport)
    connections.close_all()


async def _until(opened: ClientConnection, kind: str) -> None:
    while orjson.loads(await opened.recv())["type"] != kind:
        pass
