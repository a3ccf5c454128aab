"""What the platform and a run share: names of files in the run folder and the JSON in them. Stdlib only.

Both worlds import this module. Times are seconds since the epoch (UTC) by the host's clock, durations are
seconds. `from_json` ignores unknown keys, so that either side may be newer, and raises `ContractError` for
anything missing or of the wrong type.
"""

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, Self, TypeVar, cast

VERSION: Final = 1

ENV_JOB_UUID: Final = "ANNEAL_JOB_UUID"
ENV_METRICS_DIR: Final = "ANNEAL_METRICS_DIR"
ENV_TARGET_STEP: Final = "ANNEAL_TARGET_STEP"
ENV_LAUNCH_TOKEN: Final = "ANNEAL_LAUNCH_TOKEN"  # noqa: S105 - the name of a variable, not a secret
ENV_RUN_FOLDER: Final = "ANNEAL_RUN_FOLDER"

CLAIM: Final = "claim"
COMMAND: Final = "command.json"
CONFIG: Final = "config.yaml"
PROCESS: Final = "process.json"
HEARTBEAT: Final = "heartbeat"
OUTPUT_LOG: Final = "output.log"
RESULT: Final = "result.json"
EXIT: Final = "exit.json"
METRICS_DIR: Final = "metrics"

MOST_SECONDS: Final = 1e11
"""No moment and no duration here is longer: the year 5138. Beyond the calendar, nobody could work with it."""
MOST_CODE: Final = 2**31

MetricValue = float | int | str
"""A number, or "NaN", "Infinity", "-Infinity": JSON has no other way to say those."""

T = TypeVar("T")


class ContractError(ValueError):
    """A file of a run folder does not say what it must. The message names the key."""


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


class Message(ABC):
    """JSON in and out for the frozen dataclasses below."""

    def to_json(self) -> dict[str, Any]:
        return asdict(cast(Any, self))

    @classmethod
    @abstractmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises ContractError."""

    def to_bytes(self) -> bytes:
        return (json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{cls.__name__}: not JSON: {error}") from error
        if not isinstance(data, dict):
            raise ContractError(f"{cls.__name__}: an object was expected")
        return cls.from_json(data)


def _get(data: Mapping[str, Any], key: str, read: Callable[[Any], T]) -> T:
    try:
        return read(data[key])
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"{key}: {error!r}") from error


def _optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else read(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number was expected")
    if not -(2**63) <= value < 2**63:
        raise ValueError("no whole number of 64 bits")
    return value


def _code(value: Any) -> int:
    if not 0 <= _integer(value) < MOST_CODE:
        raise ValueError("no exit code or signal")
    return _integer(value)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number was expected")
    if not 0 <= value < MOST_SECONDS:
        raise ValueError("no moment or duration")
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false was expected")
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return [_text(item) for item in value]


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object was expected")
    return value


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
            argv=_get(data, "argv", _texts),
            env={key: _text(value) for key, value in _get(data, "env", _mapping).items()},
            cwd=_get(data, "cwd", _text),
            launch_token=_get(data, "launch_token", _text),
            uuid=_get(data, "uuid", _text),
            target_step=_get(data, "target_step", _optional(_integer)),
            checkpoint_required=_get(data, "checkpoint_required", _boolean),
            checkpoint_folder=_get(data, "checkpoint_folder", _text),
            stop_grace_s=_get(data, "stop_grace_s", _seconds),
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
        owner = _get(data, "owner", _text)
        if owner not in ("runner", "revoked"):
            raise ContractError(f"owner: {owner!r} is neither runner nor revoked")
        return cls(
            owner=cast(Literal["runner", "revoked"], owner),
            pid=_get(data, "pid", _optional(_integer)),
            start_time=_get(data, "start_time", _optional(_integer)),
            boot_id=_get(data, "boot_id", _optional(_text)),
            at=_get(data, "at", _seconds),
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
            runner_pid=_get(data, "runner_pid", _integer),
            runner_start_time=_get(data, "runner_start_time", _integer),
            boot_id=_get(data, "boot_id", _text),
            child_pid=_get(data, "child_pid", _integer),
            child_start_time=_get(data, "child_start_time", _integer),
            launch_token=_get(data, "launch_token", _text),
            started_at=_get(data, "started_at", _seconds),
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
            step=_get(data, "step", _optional(_integer)),
            ok=_get(data, "ok", _boolean),
            why=_get(data, "why", _text),
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
            code=_get(data, "code", _optional(_code)),
            signal=_get(data, "signal", _optional(_code)),
            started_at=_get(data, "started_at", _seconds),
            finished_at=_get(data, "finished_at", _seconds),
            elapsed_s=_get(data, "elapsed_s", _seconds),
            checkpoint=CheckpointInfo.from_json(_get(data, "checkpoint", _mapping)),
            disk_free=_get({"disk_free": None, **data}, "disk_free", _optional(_integer)),
        )


@dataclass(frozen=True)
class AnomalyInfo(Message):
    """What the trainer's own process noticed at a step, for instance `nan_inf`."""

    type: str
    message: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(type=_get(data, "type", _text), message=_get(data, "message", _text))


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
            step=_get(data, "step", _integer),
            time=_get(data, "time", _seconds),
            metrics=_get(data, "metrics", _mapping),
            anomaly=None if anomaly is None else AnomalyInfo.from_json(_get(data, "anomaly", _mapping)),
            v=_get(data, "v", _integer),
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
        state = _get(data, "state", _text)
        if state not in ("starting", "running", "finished", "failed"):
            raise ContractError(f"state: {state!r} is unknown")
        return cls(
            state=cast(Literal["starting", "running", "finished", "failed"], state),
            step=_get(data, "step", _optional(_integer)),
            target_step=_get(data, "target_step", _optional(_integer)),
            unit=_get(data, "unit", _text),
            updated_at=_get(data, "updated_at", _seconds),
            heartbeat_at=_get(data, "heartbeat_at", _seconds),
            has_anomaly=_get(data, "has_anomaly", _boolean),
            anomaly_type=_get(data, "anomaly_type", _optional(_text)),
            anomaly_message=_get(data, "anomaly_message", _optional(_text)),
            pace_s=_get(data, "pace_s", _optional(_seconds)) if "pace_s" in data else None,
        )
