"""What a run's page says of the machine under it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from monitoring.system_selectors import Machine

_GPU: Final = re.compile(r"gpu\.(\d+)\.(\w+)")
SOON_S: Final = 24 * 3600.0
"""A disk that is full within a day is worth a warning."""


@dataclass(frozen=True)
class Gpu:
    index: int
    use_percent: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None


@dataclass(frozen=True)
class MachineView:
    """The last sample, `None` what it lacks. `sample` is the same as JSON, for the charts: [time, {name: value}]."""

    attempt: int
    at: float
    values: Mapping[str, float]
    gpus: list[Gpu]
    full_in_s: float | None
    full_soon: bool
    sample: str

    @property
    def version(self) -> int:
        """Grows with each sample: milliseconds."""
        return int(self.at * 1000)


def machine_view(machine: Machine | None, *, active: bool) -> MachineView | None:
    """`active`: the run goes on. When it has ended, nothing of it fills the disk any more."""
    if machine is None or machine.last_at is None:
        return None
    full_in_s = machine.full_in_s if active else None
    gpus: dict[int, dict[str, Any]] = {}
    for name, value in machine.last.items():
        if found := _GPU.fullmatch(name):
            gpus.setdefault(int(found[1]), {})[found[2]] = value
    return MachineView(
        attempt=machine.attempt,
        at=machine.last_at,
        values=machine.last,
        gpus=[
            Gpu(
                index,
                *(measured.get(name) for name in ("use_percent", "memory_used_bytes", "memory_total_bytes")),
            )
            for index, measured in sorted(gpus.items())
        ],
        full_in_s=full_in_s,
        full_soon=full_in_s is not None and full_in_s < SOON_S,
        sample=orjson.dumps([machine.last_at, machine.last]).decode(),
    )
