"""Tell the platform how far a program without metrics is: rows, samples, files. Stdlib only."""

import contextlib
import os
import time
from typing import Final, Literal

from platform_runtime import files
from platform_runtime.contract import RunFolder, StatusFile

PERIOD_S: Final = 1.0


class Status:
    """The status file of a run, replaced whole, at most once a second. What cannot be written stops nobody.

    `even`: its units take about as long as each other. Otherwise no pace is told, and so no time that is left.
    """

    def __init__(self, run: RunFolder, *, unit: str, total: int | None = None, even: bool = True) -> None:
        self._run = run
        self._unit = unit
        self._total = total
        self._even = even
        self._done = 0
        self._first: tuple[int, float] | None = None
        self._next = 0.0
        with contextlib.suppress(OSError):
            os.makedirs(run.metrics_dir, mode=0o700, exist_ok=True)
        self._write("running")

    def done(self, count: int) -> None:
        """So many are done by now. Cheap: call it for each."""
        self._done = count
        if self._first is None and count:
            # What came before, such as loading a model, says nothing about what is left.
            self._first = (count, time.monotonic())
        if time.monotonic() >= self._next:
            self._write("running")

    def end(self, *, failed: bool = False) -> None:
        self._write("failed" if failed else "finished")

    def _pace_s(self) -> float | None:
        if not self._even or self._first is None or self._done <= self._first[0]:
            return None
        count, at = self._first
        return (time.monotonic() - at) / (self._done - count)

    def _write(self, state: Literal["running", "finished", "failed"]) -> None:
        now = time.time()
        told = StatusFile(
            state=state,
            step=self._done,
            target_step=self._total,
            unit=self._unit,
            updated_at=now,
            heartbeat_at=now,
            has_anomaly=False,
            anomaly_type=None,
            anomaly_message=None,
            pace_s=self._pace_s(),
        )
        with contextlib.suppress(OSError):
            files.replace(self._run.status, told.to_bytes())
        self._next = time.monotonic() + PERIOD_S
