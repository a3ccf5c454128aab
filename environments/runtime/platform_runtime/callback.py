"""What a trainer tells the platform: one line a step in a file, and a small status file.

Usable in any training loop: `begin`, `step` for every step, `end`. Needs nothing but the standard library; orjson
is used when it is there. The trainer is held for microseconds and never by an error of ours: what cannot be
written is told once in the trainer's log, and dropped.
"""

import errno
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from math import isfinite
from os import write
from time import time as clock
from types import TracebackType
from typing import Any, Final, Literal, Self

from platform_runtime import files, stacks
from platform_runtime.anomalies import KL_THRESHOLD, Anomaly, Detector, as_number, find_not_finite
from platform_runtime.contract import (
    ENV_JOB_UUID,
    ENV_KL_THRESHOLD,
    ENV_METRICS_DIR,
    ENV_STOP_ON_CRITICAL,
    ENV_TARGET_STEP,
    VERSION,
    AnomalyInfo,
    MetricLine,
    MetricValue,
    StatusFile,
    metrics_name,
    status_name,
)

logger = logging.getLogger(__name__)

STATUS_PERIOD_S: Final = 1.0
HEARTBEAT_PERIOD_S: Final = 5.0
_NO_FILE: Final = -1
"""Writing to it is an error like any other, and is treated as one."""


def _dump_with_json(line: Mapping[str, Any], _default: None = None, _option: int = 0) -> bytes:
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _choose_dump() -> tuple[Callable[..., bytes], int]:
    """What makes a line, newline included, and its option. Both raise TypeError for what is no number."""
    try:
        import orjson  # noqa: PLC0415 - optional: what is outside the platform need not have it
    except ImportError:
        return _dump_with_json, 0
    return orjson.dumps, orjson.OPT_APPEND_NEWLINE


_dump, _OPTION = _choose_dump()


class TrainingStopped(RuntimeError):
    """Raised by `PlatformCallback.step` for a critical anomaly, where that is asked for: all further steps are lost."""


class TrainerCallback:
    """What a training loop calls. The base does nothing: override what is of interest."""

    def begin(self, target_step: int | None = None) -> None:
        """Training is about to start; `target_step` is the step it will end at, where that is known."""

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A step is done. May come twice for one step (training, then validation); the last value counts."""

    def end(self, *, failed: bool = False) -> None:
        """Training is over. Safe to call more than once."""

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(failed=error is not None)


class PlatformCallback(TrainerCallback):
    """Writes `<uuid>_metrics.jsonl` and `<uuid>_status.json` into `metrics_dir`, as contract.py has them.

    One object per process and attempt. `step` makes one unbuffered write of one whole line; the status file is
    replaced by a thread, at most once a second, and directly at the start, at an anomaly and at the end. With
    `stop_on_critical` a step with a critical anomaly raises TrainingStopped once it is written down.
    """

    def __init__(
        self,
        uuid: str,
        metrics_dir: str,
        *,
        target_step: int | None = None,
        unit: str = "step",
        detector: Detector | None = None,
        stop_on_critical: bool = False,
    ) -> None:
        self.metrics_path = os.path.join(metrics_dir, metrics_name(uuid))
        self.status_path = os.path.join(metrics_dir, status_name(uuid))
        self.dropped = 0
        self._dir = metrics_dir
        self._target = target_step
        self._unit = unit
        self._stops = stop_on_critical
        self._detector = detector or Detector()
        self._look = self._detector.look
        self._file = _NO_FILE
        self._torn = False
        self._complained: set[str] = set()
        self._state: Literal["starting", "running", "finished", "failed"] = "starting"
        self._step: int | None = None
        self._updated_at = clock()
        self._anomaly: Anomaly | None = None
        self._stopped = threading.Event()
        self._status_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "PlatformCallback | None":
        """The callback of the run this process belongs to; None outside the platform."""
        uuid, folder = environment.get(ENV_JOB_UUID), environment.get(ENV_METRICS_DIR)
        if not uuid or not folder:
            return None
        target = environment.get(ENV_TARGET_STEP, "")
        return cls(
            uuid,
            folder,
            target_step=int(target) if target.isdecimal() else None,
            detector=Detector(kl_threshold=_threshold(environment)),
            stop_on_critical=environment.get(ENV_STOP_ON_CRITICAL) == "1",
        )

    def begin(self, target_step: int | None = None) -> None:
        if self._target is None:
            self._target = target_step
        try:
            os.makedirs(self._dir, mode=0o700, exist_ok=True)
            self._open()
        except OSError as error:
            self._complain("metrics", error)
        stacks.listen()
        self._state = "running"
        self._updated_at = clock()
        self._stopped.clear()
        self._write_status()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_status, name="platform-status", daemon=True)
            self._thread.start()

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        now = clock()
        line, anomaly = b"", None
        try:
            # The sum is finite when all are, and refuses what is no number: one pass in C over the values. What
            # orjson does not know (a numpy scalar, a tensor) it refuses. Whatever it is, it is looked at again.
            if isfinite(sum(metrics.values())) and (anomaly := self._look(step, metrics)) is None:
                line = _dump({"v": VERSION, "step": step, "time": now, "metrics": metrics}, None, _OPTION)
        except Exception:
            anomaly = None
        try:
            if not line:
                line, anomaly = self._careful_line(step, now, metrics, anomaly)
            if self._torn or write(self._file, line) != len(line):
                self._mend(line)
        except OSError as error:
            self._retry(line, error)
        except Exception as error:
            # Never the training's concern, whatever was logged.
            self._drop(error)
        self._step, self._updated_at = step, now
        if anomaly is not None:
            self._anomaly = anomaly
            self._write_status()
            if self._stops and anomaly.severity == "critical":
                raise TrainingStopped(f"{anomaly.type} at step {step}: {anomaly.message}")

    def end(self, *, failed: bool = False) -> None:
        if self._state in ("finished", "failed"):
            return
        self._state = "failed" if failed else "finished"
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=STATUS_PERIOD_S * 2)
            self._thread = None
        self._write_status()
        if self._file != _NO_FILE:
            os.close(self._file)
            self._file = _NO_FILE
        if self.dropped:
            logger.warning("%d metric line(s) could not be written and are lost", self.dropped)

    def _careful_line(
        self, step: int, now: float, metrics: Mapping[str, Any], anomaly: Anomaly | None
    ) -> tuple[bytes, Anomaly | None]:
        """The line for values of any kind; what is no number is left out."""
        numbers = {str(name): number for name, value in metrics.items() if (number := as_number(value)) is not None}
        anomaly = find_not_finite(numbers) or anomaly or self._look(step, numbers)
        told = AnomalyInfo(anomaly.type, anomaly.message) if anomaly is not None else None
        line = MetricLine(int(step), now, {name: spell(number) for name, number in numbers.items()}, told)
        return _dump(line.to_json(), None, _OPTION), anomaly

    def _open(self) -> None:
        self._file = os.open(self.metrics_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._file).st_size
        # A process that was killed in mid-write may have left half a line.
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _mend(self, line: bytes) -> None:
        """After a write cut short (a full disk), the next line begins with a newline of its own.

        Called with the line that was just cut short, or with the one that follows such a line. Raises OSError.
        """
        if not self._torn:
            self._torn = True
            self._drop(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            return
        written = os.write(self._file, b"\n" + line)
        self._torn = 1 < written <= len(line)
        if written <= len(line):
            self._drop(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _retry(self, line: bytes, error: OSError) -> None:
        """For a file that could not be opened until now."""
        if self._file == _NO_FILE:
            try:
                self._open()
                if self._torn or write(self._file, line) != len(line):
                    self._mend(line)
                return
            except OSError as later:
                error = later
        self._drop(error)

    def _drop(self, error: Exception) -> None:
        """A line that cannot be written is lost; that is told, once."""
        self.dropped += 1
        self._complain("metrics", error)

    def _keep_status(self) -> None:
        """The thread: at most once a second while steps come, every few seconds as a heartbeat otherwise."""
        written_step, written_at = self._step, time.monotonic()
        while not self._stopped.wait(STATUS_PERIOD_S):
            due = time.monotonic() - written_at >= HEARTBEAT_PERIOD_S
            if self._step != written_step or due:
                written_step, written_at = self._step, time.monotonic()
                self._write_status()

    def _write_status(self) -> None:
        anomaly = self._anomaly
        status = StatusFile(
            state=self._state,
            step=self._step,
            target_step=self._target,
            unit=self._unit,
            updated_at=self._updated_at,
            heartbeat_at=clock(),
            has_anomaly=anomaly is not None,
            anomaly_type=anomaly.type if anomaly is not None else None,
            anomaly_message=anomaly.message if anomaly is not None else None,
        )
        with self._status_lock:
            try:
                files.replace(self.status_path, status.to_bytes())
            except OSError as error:
                self._complain("status", error)

    def _complain(self, what: str, error: Exception) -> None:
        """Once for each file: a full disk would otherwise say so at every step."""
        if what not in self._complained:
            self._complained.add(what)
            path = self.metrics_path if what == "metrics" else self.status_path
            logger.warning("%s cannot be written, training goes on: %s", path, error)


def _threshold(environment: Mapping[str, str]) -> float:
    try:
        found = float(environment.get(ENV_KL_THRESHOLD, ""))
    except ValueError:
        return KL_THRESHOLD
    return found if 0 < found < math.inf else KL_THRESHOLD


def spell(number: float) -> MetricValue:
    """A number as JSON can say it: what is not finite as a string."""
    if math.isfinite(number):
        return number
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
