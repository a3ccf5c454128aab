"""Open live pages: memory of each, time to reach all, database connections held."""

import asyncio
import resource
import time
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


def measure(figures: Figures) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    with redis_server():
        for count in COUNTS:
            with Platform(with_worker=False) as platform:
                found = asyncio.run(_open(platform, count))
            figures.figures[f"{count}_sockets"] = found
        figures.at_most("kib_each", found["kib_each"], 60)
        figures.at_most("reach_all_ms", found["reach_all_ms"]["p50"], 400)
        figures.at_most("connections_held", found["connections_held"], 0)


async def _open(platform: Platform, count: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    run = await loop.run_in_executor(None, lambda: Run(with_runner=False))
    url = platform.socket_url(f"/ws/monitoring/{run.id}/live/?format=json")
    web = psutil.Process(platform.web_pid)

    async def one() -> ClientConnection:
        opened = await connect(
            url, additional_headers=platform.headers, compression=None, ping_interval=None, open_timeout=60
        )
        await _until(opened, "progress")
        return opened

    # Warm: code loaded, threads and caches there, so that what follows is the sockets' own.
    warm = [await one() for _ in range(5)]
    for opened in warm:
        await opened.close()
    await asyncio.sleep(0.5)
    before = web.memory_info().rss
    sockets: list[ClientConnection] = []
    started = time.perf_counter()
    for first in range(0, count, AT_ONCE):
        sockets += await asyncio.gather(*(one() for _ in range(min(AT_ONCE, count - first))))
    opening_s = time.perf_counter() - started
    await asyncio.sleep(1.0)
    each = (web.memory_info().rss - before) / count / 1024
    reached = []
    for step in range(1, ROUNDS + 1):
        waiting = [asyncio.create_task(_until(opened, "metrics")) for opened in sockets]
        run.write(line(step))
        await asyncio.sleep(0.6)
        begun = time.perf_counter()
        await loop.run_in_executor(None, _sync, run)
        await asyncio.gather(*waiting)
        reached.append(time.perf_counter() - begun)
    await asyncio.sleep(1.0)
    held = await loop.run_in_executor(None, platform.open_databases)
    await asyncio.gather(*(opened.close() for opened in sockets))
    run.end()
    return {
        "opening_s": round(opening_s, 2),
        "kib_each": round(each, 1),
        "reach_all_ms": spread(reached),
        "connections_held": held,
        "database": settings.DATABASES["default"]["ENGINE"].rpartition(".")[2],
    }


def _sync(run: Run) -> None:
    sync_stream(run.id, run.transport)
    connections.close_all()


async def _until(opened: ClientConnection, kind: str) -> None:
    while orjson.loads(await opened.recv())["type"] != kind:
        pass
