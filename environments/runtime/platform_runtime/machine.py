"""Samples the machine beside a run: processor, memory, disk and GPUs, of the machine and of the run's own processes.

The runner's thread: a driver that hangs, or a file system that does, holds up this thread alone and never the
keeping of the books. The file stays small: when it is full every second sample of its older half goes, so that it
spans the whole attempt, ever more thinly the older it is. Linux, stdlib only.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from platform_runtime import files, processes
from platform_runtime.gpus import Gpus
from platform_runtime.system import PERIOD_S, SystemSample

MOST_BYTES: Final = 2 << 20
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def watch(path: str, folder: str, root: int, visible: str | None) -> Callable[[], None]:
    """Begin to write samples to `path`; call what comes back to end. `folder` stands on the volume to look at, `root`
    is the process whose tree is the run, `visible` its CUDA_VISIBLE_DEVICES."""
    stopping = threading.Event()
    thread = threading.Thread(target=_run, args=(path, folder, root, visible, stopping), daemon=True, name="machine")
    thread.start()
    return stopping.set


def _run(path: str, folder: str, root: int, visible: str | None, stopping: threading.Event) -> None:
    meter, record = Meter(folder, root, Gpus(visible)), Record(path)
    n = 0
    while not stopping.wait(PERIOD_S if n else 0.2):
        n += 1
        with contextlib.suppress(OSError, ValueError):  # a full disk, or a /proc without some of it: the next may do
            record.add(SystemSample(n, time.time(), meter.sample()))


class Record:
    """The file of samples, at most `most_bytes` and one line long."""

    def __init__(self, path: str, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._most = most_bytes

    def add(self, sample: SystemSample) -> None:
        """Raises OSError."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, sample.to_line())
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size > self._most:
            with open(self._path, "rb") as file:
                lines = file.readlines()
            half = len(lines) // 2
            files.replace(self._path, b"".join(lines[:half:2] + lines[half:]))


class Meter:
    """Remembers the counters of the sample before: use is what came between."""

    def __init__(self, folder: str, root: int, gpus: Gpus) -> None:
        self._folder = folder
        self._root = root
        self._gpus = gpus
        self._machine = _machine_ticks()
        self._tree, _ = _tree(root)
        self._at = time.monotonic()

    def sample(self) -> dict[str, float]:
        """Raises OSError and ValueError where /proc does not say what it should."""
        now, machine = time.monotonic(), _machine_ticks()
        ticks, resident = _tree(self._root)
        busy, all_of = (new - old for new, old in zip(machine, self._machine, strict=True))
        # A process that is new since then worked all of its time since then.
        worked = sum(spent - self._tree.get(one, 0) for one, spent in ticks.items())
        passed = now - self._at
        self._machine, self._tree, self._at = machine, ticks, now
        values: dict[str, float] = {
            "cpu_percent": round(100 * busy / all_of, 1) if all_of > 0 else 0.0,
            "run_cpu_percent": round(100 * max(0, worked) / _TICKS / passed, 1) if passed > 0 else 0.0,
            "run_memory_bytes": resident,
            **_memory(),
            **_disk(self._folder),
        }
        return values | self._gpus.sample()


def _machine_ticks() -> tuple[int, int]:
    """Busy, and all."""
    with open("/proc/stat", encoding="ascii") as file:
        # user nice system idle iowait irq softirq steal; guests count in user already.
        counts = [int(word) for word in file.readline().split()[1:9]]
    return sum(counts) - counts[3] - counts[4], sum(counts)


def _tree(root: int) -> tuple[dict[tuple[int, int], int], int]:
    """Of the run's processes: ticks spent so far by (pid, start time), and resident bytes all together."""
    table = processes.everyone()
    spent: dict[tuple[int, int], int] = {}
    resident = 0
    # What left its parent is adopted by the runner, which is this very process.
    for pid in processes.family(table, [root, os.getpid()]) - {os.getpid()}:
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError):  # it ended meanwhile
            with open(f"/proc/{pid}/stat", "rb") as file:
                stat = file.read()
            fields = stat[stat.rfind(b")") + 2 :].split()
            spent[pid, table[pid].start_time] = int(fields[11]) + int(fields[12])
            resident += int(fields[21]) * _PAGE
    return spent, resident


def _memory() -> dict[str, float]:
    with open("/proc/meminfo", encoding="ascii") as file:
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}
    total = kib["MemTotal"] * 1024
    return {"memory_used_bytes": total - kib.get("MemAvailable", 0) * 1024, "memory_total_bytes": total}


def _disk(folder: str) -> dict[str, float]:
    found = os.statvfs(folder)
    return {
        "disk_free_bytes": found.f_bavail * found.f_frsize,
        "disk_total_bytes": found.f_blocks * found.f_frsize,
    }
