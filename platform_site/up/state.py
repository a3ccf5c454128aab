"""What runs on a data folder: a lock that only a living supervisor holds, and a file that says what it started."""

import fcntl
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .processes import is_same


@dataclass
class Child:
    """A process that the supervisor started. `since` in seconds since the epoch."""

    pid: int
    started: str
    since: float
    restarts: int = 0

    @property
    def alive(self) -> bool:
        return is_same(self.pid, self.started)


@dataclass
class State:
    """The supervisor's own account of itself."""

    pid: int
    started: str
    host: str
    port: int
    since: float
    children: dict[str, Child] = field(default_factory=dict)

    @property
    def url(self) -> str:
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104  shown, not bound
        return f"http://{shown}:{self.port}/"


def read(data: Path) -> State | None:
    """The last account on this data folder, None when there is none that can be read."""
    try:
        saved: dict[str, Any] = json.loads((data / "supervisor.json").read_text())
        children = {name: Child(**child) for name, child in saved.pop("children").items()}
        return State(**saved, children=children)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(data: Path, state: State) -> None:
    """Replace the account in one step."""
    handle, temporary = tempfile.mkstemp(dir=data, prefix=".supervisor.")
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(state), file)
    os.replace(temporary, data / "supervisor.json")


class Lock:
    """An advisory lock on a file or folder, gone with its holder however it died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self, *, wait: bool = False) -> bool:
        """Take it; False when another holds it (never with `wait`)."""
        flags = os.O_RDONLY if self._path.is_dir() else os.O_RDWR | os.O_CREAT
        handle = os.open(self._path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def supervisor_lock(data: Path) -> Lock:
    return Lock(data / "supervisor.lock")


def is_running(data: Path) -> bool:
    """Whether a supervisor holds this data folder."""
    if not (data / "supervisor.lock").exists():
        return False
    lock = supervisor_lock(data)
    free = lock.take()
    lock.release()
    return not free
