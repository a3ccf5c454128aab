"""The form of what a run's machine does meanwhile: one JSON line a sample. Stdlib only.

`{"v": 1, "n": 12, "time": 1763800000.1, "system": {"cpu_percent": 41.5, "gpu.0.use_percent": 97, …}}`
`n` counts the samples of an attempt, so that a reader knows each by number, whatever the clock or the file did.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, Self

from platform_runtime.contract import VERSION
from platform_runtime.message import MOST_SECONDS, ContractError

PERIOD_S: Final = 5.0
"""Between two samples."""
NAMES: Final = re.compile(
    r"cpu_percent|run_cpu_percent|memory_used_bytes|memory_total_bytes|run_memory_bytes"
    r"|disk_free_bytes|disk_total_bytes"
    r"|gpu\.\d{1,2}\.(?:use_percent|memory_used_bytes|memory_total_bytes)"
)
"""Percent of the whole machine or GPU; `run_cpu_percent` of one core, as `top` counts. `run_` is the run's process
tree: its memory is the sum of resident sizes, in which what processes share counts for each."""
MOST_NAMES: Final = 64
MOST_COUNT: Final = 2**53


@dataclass(frozen=True)
class SystemSample:
    """`time` in seconds since the epoch by the host's clock. What could not be measured is left out."""

    n: int
    time: float
    values: dict[str, float]

    def to_line(self) -> bytes:
        line = {"v": VERSION, "n": self.n, "time": round(self.time, 3), "system": self.values}
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Raises ContractError for what is no sample. Values that are no numbers from 0 on are left out."""
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"system: not JSON: {error}") from error
        if not isinstance(data, dict) or not isinstance(data.get("system"), dict):
            raise ContractError("system: an object was expected")
        n, time = data.get("n"), data.get("time")
        if type(n) is not int or not 0 < n < MOST_COUNT:
            raise ContractError("n: a whole number was expected")
        if time is None or not _is_number(time) or time >= MOST_SECONDS:
            raise ContractError("time: seconds were expected")
        known = {
            name: float(value) for name, value in data["system"].items() if NAMES.fullmatch(name) and _is_number(value)
        }
        return cls(n, float(time), dict(sorted(known.items())[:MOST_NAMES]))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < 2**63 and math.isfinite(value)
