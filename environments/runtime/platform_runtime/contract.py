"""What the platform and a run share: names of files in the run folder and the JSON in them. Stdlib only.

Both worlds import this module. Times are seconds since the epoch (UTC) by the host's clock, durations are
seconds. `from_json` ignores unknown keys, so that either side may be newer, and raises `ContractError` for
anything missing or of the wrong type.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, cast

from platform_runtime.message import (
    ContractError,
    Message,
    as_boolean,
    as_code,
    as_integer,
    as_mapping,
    as_seconds,
    as_text,
    as_texts,
    optional,
    read,
)

VERSION: Final = 1

ENV_JOB_UUID: Final = "ANNEAL_JOB_UUID"
ENV_METRICS_DIR: Final = "ANNEAL_METRICS_DIR"
ENV_TARGET_STEP: Final = "ANNEAL_TARGET_STEP"
ENV_LAUNCH_TOKEN: Final = "ANNEAL_LAUNCH_TOKEN"  # noqa: S105 - the name of a variable, not a secret
ENV_RUN_FOLDER: Final = "ANNEAL_RUN_FOLDER"
ENV_STOP_ON_CRITICAL: Final = "ANNEAL_STOP_ON_CRITICAL"
ENV_KL_THRESHOLD: Final = "ANNEAL_KL_THRESHOLD"

CLAIM: Final = "claim"
COMMAND: Final = "command.json"
CONFIG: Final = "config.yaml"
PROCESS: Final = "process.json"
HEARTBEAT: Final = "heartbeat"
OUTPUT_LOG: Final = "output.log"
RESULT: Final = "result.json"
EXIT: Final = "exit.json"
METRICS_DIR: Final = "metrics"

MetricValue = float | int | str
"""A number, or "NaN", "Infinity", "-Infinity": JSON has no other way to say those."""


def metrics_name(uuid: str) -> str:
    return f"{uuid}_metrics.jsonl"


def status_name(uuid: str) -> str:
    return f"{uuid}_status.json"


def system_name(uuid: str) -> str:
    return f"{uuid}_system.jsonl"


@dataclass(frozen=True)
class RunFolder:
    """Where the files of one attempt are. `path` is `<root>/runs/<uuid>/attempt-<n>`, absolute."""

    path: str
    uuid: str

    @classmethod
    def at(cls, path: str) -> Self:
        """The same from the path alone: the folder above an attempt is named after the stage."""
        path = os.path.abspath(path)
        return cls(path, os.path.basename(os.path.dirname(path)))

    def _file(self, *names: str) -> str:
        return os.path.join(self.path, *names)

    @property
    def claim(self) -> str:
        return self._file(CLAIM)

    @property
    def command(self) -> str:
        return self._file(COMMAND)

    @property
    def config(self) -> str:
        return self._file(CONFIG)

    @property
    def process(self) -> str:
        return self._file(PROCESS)

    @property
    def heartbeat(self) -> str:
        return self._file(HEARTBEAT)

    @property
    def output_log(self) -> str:
        return self._file(OUTPUT_LOG)

    @property
    def result(self) -> str:
        return self._file(RESULT)

    @property
    def exit(self) -> str:
        return self._file(EXIT)

    @property
    def metrics_dir(self) -> str:
        return self._file(METRICS_DIR)

    @property
    def metrics(self) -> str:
        return self._file(METRICS_DIR, metrics_name(self.uuid))

    @property
    def status(self) -> str:
        return self._file(METRICS_DIR, status_name(self.uuid))

    @property
    def system(self) -> str:
        return self._file(METRICS_DIR, system_name(self.uuid))

    @property
    def checkpoints(self) -> str:
        parent, attempt = os.path.split(self.path)
        return os.path.join(parent, "checkpoints", attempt)


@dataclass(frozen=True)
class Command(Message):
    """command.json: what the runner starts. `env` is the whole environment of the process."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    launch_token: str
    uuid: str
    target_step: int | None
    checkpoint_required: bool
    checkpoint_folder: str
    stop_grace_s: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        command = cls(
            argv=read(data, "argv", as_texts),
            env={key: as_text(value) for key, value in read(data, "env", as_mapping).items()},
            cwd=read(data, "cwd", as_text),
            launch_token=read(data, "launch_token", as_text),
            uuid=read(data, "uuid", as_text),
            target_step=read(data, "target_step", optional(as_integer)),
            checkpoint_required=read(data, "checkpoint_required", as_boolean),
            checkpoint_folder=read(data, "checkpoint_folder", as_text),
            stop_grace_s=read(data, "stop_grace_s", as_seconds),
        )
        if not command.argv:
            raise ContractError("argv: empty")
        return command


@dataclass(frozen=True)
class Claim(Message):
    """claim: who took the attempt. Created once, whole, by the runner or by whoever revokes it."""

    owner: Literal["runner", "revoked"]
    pid: int | None
    start_time: int | None
    boot_id: str | None
    at: float

    @classmethod
    def revoked(cls) -> Self:
        return cls("revoked", None, None, None, time.time())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        owner = read(data, "owner", as_text)
        if owner not in ("runner", "revoked"):
            raise ContractError(f"owner: {owner!r} is neither runner nor revoked")
        return cls(
            owner=cast(Literal["runner", "revoked"], owner),
            pid=read(data, "pid", optional(as_integer)),
            start_time=read(data, "start_time", optional(as_integer)),
            boot_id=read(data, "boot_id", optional(as_text)),
            at=read(data, "at", as_seconds),
        )


@dataclass(frozen=True)
class ProcessInfo(Message):
    """process.json: runner and child. Start times are clock ticks since boot, as in /proc/<pid>/stat."""

    runner_pid: int
    runner_start_time: int
    boot_id: str
    child_pid: int
    child_start_time: int
    launch_token: str
    started_at: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            runner_pid=read(data, "runner_pid", as_integer),
            runner_start_time=read(data, "runner_start_time", as_integer),
            boot_id=read(data, "boot_id", as_text),
            child_pid=read(data, "child_pid", as_integer),
            child_start_time=read(data, "child_start_time", as_integer),
            launch_token=read(data, "launch_token", as_text),
            started_at=read(data, "started_at", as_seconds),
        )


@dataclass(frozen=True)
class CheckpointInfo(Message):
    """What is in the checkpoint folder.

    `step` is the latest step that can be loaded, None when there is none; `ok` says that the newest
    checkpoint is that one; `why` says in words what is wrong, and is empty when nothing is.
    """

    step: int | None
    ok: bool
    why: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            step=read(data, "step", optional(as_integer)),
            ok=read(data, "ok", as_boolean),
            why=read(data, "why", as_text),
        )


@dataclass(frozen=True)
class ExitInfo(Message):
    """exit.json: how the command ended. Ended by a signal: `code` is None, `signal` its number.

    A command that could not be started has code 127 (not found) or 126 (anything else), as in a shell.
    `elapsed_s` comes from a monotonic clock, so that it is right also when the clock was set in between.
    `disk_free` is what was free on the volume of the run folder then, in bytes; None when nobody knows.
    """

    code: int | None
    signal: int | None
    started_at: float
    finished_at: float
    elapsed_s: float
    checkpoint: CheckpointInfo
    disk_free: int | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            code=read(data, "code", optional(as_code)),
            signal=read(data, "signal", optional(as_code)),
            started_at=read(data, "started_at", as_seconds),
            finished_at=read(data, "finished_at", as_seconds),
            elapsed_s=read(data, "elapsed_s", as_seconds),
            checkpoint=CheckpointInfo.from_json(read(data, "checkpoint", as_mapping)),
            disk_free=read({"disk_free": None, **data}, "disk_free", optional(as_integer)),
        )


@dataclass(frozen=True)
class AnomalyInfo(Message):
    """What the trainer's own process noticed at a step, for instance `nan_inf`."""

    type: str
    message: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(type=read(data, "type", as_text), message=read(data, "message", as_text))


@dataclass(frozen=True)
class MetricLine(Message):
    """One line of the metrics file. A step may have several; for one name the last wins."""

    step: int
    time: float
    metrics: dict[str, MetricValue] = field(default_factory=dict)
    anomaly: AnomalyInfo | None = None
    v: int = VERSION

    def to_json(self) -> dict[str, Any]:
        line: dict[str, Any] = {"v": self.v, "step": self.step, "time": self.time, "metrics": self.metrics}
        if self.anomaly is not None:
            line["anomaly"] = self.anomaly.to_json()
        return line

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        anomaly = data.get("anomaly")
        return cls(
            step=read(data, "step", as_integer),
            time=read(data, "time", as_seconds),
            metrics=read(data, "metrics", as_mapping),
            anomaly=None if anomaly is None else AnomalyInfo.from_json(read(data, "anomaly", as_mapping)),
            v=read(data, "v", as_integer),
        )


@dataclass(frozen=True)
class StatusFile(Message):
    """The status file: replaced whole, at most once a second. `heartbeat_at` moves also between steps.

    It tells how far training is. How the run ended, exit.json alone tells. `pace_s` is what one unit of work takes in
    seconds, loading not counted; None before that is known, and where steps are logged with their own times.
    """

    state: Literal["starting", "running", "finished", "failed"]
    step: int | None
    target_step: int | None
    unit: str
    updated_at: float
    heartbeat_at: float
    has_anomaly: bool
    anomaly_type: str | None
    anomaly_message: str | None
    pace_s: float | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        state = read(data, "state", as_text)
        if state not in ("starting", "running", "finished", "failed"):
            raise ContractError(f"state: {state!r} is unknown")
        return cls(
            state=cast(Literal["starting", "running", "finished", "failed"], state),
            step=read(data, "step", optional(as_integer)),
            target_step=read(data, "target_step", optional(as_integer)),
            unit=read(data, "unit", as_text),
            updated_at=read(data, "updated_at", as_seconds),
            heartbeat_at=read(data, "heartbeat_at", as_seconds),
            has_anomaly=read(data, "has_anomaly", as_boolean),
            anomaly_type=read(data, "anomaly_type", optional(as_text)),
            anomaly_message=read(data, "anomaly_message", optional(as_text)),
            pace_s=read(data, "pace_s", optional(as_seconds)) if "pace_s" in data else None,
        )
