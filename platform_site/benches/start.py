"""`bin/up` on a prepared machine: seconds to the first `/readyz` that is well, and the memory of all at rest."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from django.conf import settings

from platform_site.up import state

from .figures import Figures, spread

ROUNDS: Final = 3
REST_S: Final = 10.0
PATIENCE_S: Final = 90.0
UP: Final = str(settings.BASE_DIR / "bin" / "up")


def measure(figures: Figures) -> None:
    """The first start makes the data folder, and is not measured. Nothing trains, and no training environment is set
    up: this process's Python stands in for it."""
    data = Path(settings.DATA_DIR) / "platform"
    taken = []
    memory: dict[str, float] = {}
    for number in range(figures.amount(ROUNDS, 1) + 1):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        started = time.perf_counter()
        up = subprocess.Popen(
            [UP, "--data", str(data), "--port", str(port), "--no-demo"],
            env={**os.environ, "ANNEAL_TRAINING_PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _wait_until_ready(up, port)
            if number:
                taken.append(time.perf_counter() - started)
            if len(taken) == figures.amount(ROUNDS, 1):
                time.sleep(figures.amount(REST_S, 0.5))
                memory = _memory_mb(data)
        finally:
            subprocess.run([UP, "stop", "--data", str(data)], check=True, capture_output=True)
            up.communicate()
    figures.figures = {"to_readyz_s": spread(taken, unit=1), "memory_mb": memory}
    python = [_imports_s() for _ in range(figures.amount(ROUNDS, 1))]
    figures.limit = {"python_and_imports_s": spread(python, unit=1)}
    figures.ratios = {"start_to_imports": round(median(taken) / median(python), 2)}
    figures.at_most("to_readyz_s", median(taken), 6)
    figures.at_most("memory_mb", sum(memory.values()), 450)


def _wait_until_ready(up: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (URLError, OSError):
            if up.poll() is not None:
                raise RuntimeError(f"bin/up ended: {up.communicate()[1].decode(errors='replace')}") from None
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _memory_mb(data: Path) -> dict[str, float]:
    """By process, each page that several share divided among them, as the kernel counts it (PSS)."""
    account = state.read(data)
    if account is None:
        raise RuntimeError(f"nothing runs on {data}")
    supervisor = psutil.Process(account.pid)
    used: dict[str, float] = {}
    for process in (supervisor, *supervisor.children(recursive=True)):
        name = _name(process)
        used[name] = round(used.get(name, 0.0) + process.memory_full_info().pss / 1e6, 1)
    return used


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    known = ("web", "worker", "scheduler", "watcher", "platform_site.supervisor")
    return next((name.rpartition(".")[2] for name in known if name in words), process.name())


def _imports_s() -> float:
    """What each of the processes pays before it does anything: Python, and the platform's modules."""
    started = time.perf_counter()
    subprocess.run([sys.executable, str(settings.BASE_DIR / "manage.py"), "check"], check=True, capture_output=True)
    return time.perf_counter() - started
