"""What can be asked about the machine of a run."""

from dataclasses import dataclass
from uuid import UUID

from monitoring import system
from monitoring.models import SystemLog, SystemSample


@dataclass(frozen=True)
class Machine:
    """One attempt's samples, ascending: (time of the last, values) of each row of `width_s` seconds. `full_in_s`:
    seconds from the last sample until the run's volume is full; None while it does not fill up, or too
    little was measured to tell."""

    attempt: int
    width_s: float
    samples: list[tuple[float, dict[str, float]]]
    full_in_s: float | None

    @property
    def last(self) -> dict[str, float]:
        return self.samples[-1][1] if self.samples else {}

    @property
    def last_at(self) -> float | None:
        return self.samples[-1][0] if self.samples else None


def machine(stream_id: UUID, attempt: int | None = None) -> Machine | None:
    """Of this attempt, or of the latest that has samples. None: there are none."""
    return _machine(stream_id, attempt, system.MOST_ROWS)


def machine_now(stream_id: UUID) -> Machine | None:
    """The same with the last samples alone, as far as the forecast needs them."""
    return _machine(stream_id, None, system.RECENT)


def _machine(stream_id: UUID, attempt: int | None, most: int) -> Machine | None:
    logs = SystemLog.objects.filter(segment__stream_id=stream_id, last_n__gt=0).select_related("segment")
    if attempt is not None:
        logs = logs.filter(segment__attempt=attempt)
    log = logs.order_by("-segment__attempt").first()
    if log is None:
        return None
    samples = _samples(log, most)
    return Machine(log.segment.attempt, log.width_s, samples, system.forecast(_free(samples)))


def free_bytes(log: SystemLog, most: int) -> list[tuple[float, float]]:
    """(time, bytes left on the run's volume) of the last samples, ascending."""
    return _free(_samples(log, most))


def _samples(log: SystemLog, most: int) -> list[tuple[float, dict[str, float]]]:
    rows = SystemSample.objects.filter(log=log).order_by("-index").values_list("time", "values")[:most]
    return list(rows)[::-1]


def _free(samples: list[tuple[float, dict[str, float]]]) -> list[tuple[float, float]]:
    return [(time, values["disk_free_bytes"]) for time, values in samples if "disk_free_bytes" in values]
