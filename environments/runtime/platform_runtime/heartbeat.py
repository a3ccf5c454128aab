"""The runner's sign of life: two readings of the host's monotonic clock, written over in one place. Stdlib only.

The clock is the machine's own, the same in all its processes, set by nobody, and stands while the machine is
suspended: whoever reads the file on that host can tell how long a run has run and how long it has been frozen.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Final

from platform_runtime import processes

PERIOD_S: Final = 5.0
_FORM: Final = "{:018.3f} {:018.3f}\n"
"""Always as long, so that a full disk has room for the next one and readers never see half of one."""


@dataclass(frozen=True)
class Beat:
    """Monotonic seconds: when the run began, and when the runner last saw its command not stopped."""

    began: float
    last: float


class Heart:
    """What the runner beats with. What cannot be written stops nobody."""

    def __init__(self, path: str, began: float) -> None:
        self._began = began
        self._next = 0.0
        self._file = -1
        with contextlib.suppress(OSError):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def beat(self, pid: int) -> None:
        """To be called often; writes every few seconds, unless the command `pid` stands still by a stop signal."""
        now = time.monotonic()
        if self._file < 0 or now < self._next:
            return
        self._next = now + PERIOD_S
        seen = processes.look(pid)
        if seen is None or not seen.stopped:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, _FORM.format(self._began, now).encode(), 0)


def read(path: str) -> Beat | None:
    """The last beat; None when there is none, or none that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        began, last = os.pread(descriptor, 64, 0).decode("ascii").split()
        beat = Beat(float(began), float(last))
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    # Also false for what is no number. A second more: what is written is rounded.
    return beat if 0 <= beat.began <= beat.last <= time.monotonic() + 1 else None
