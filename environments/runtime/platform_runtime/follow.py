"""Which runs wrote something, told as it happens. Stdlib only.

By looking, several times a second: a look at all files of 50 runs takes less than a millisecond, and works on network
file systems too, whose changes elsewhere no kernel tells.
"""

import os
from collections.abc import Iterable
from typing import Final

from platform_runtime.contract import RunFolder

LOOK_EVERY_S: Final = 0.1
SIGN_OF_LIFE_S: Final = 5.0

_Seen = tuple[tuple[int, int, int] | None, ...]


class Followed:
    """The telling files of some runs, as they were at the last look."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def follow(self, folders: Iterable[str]) -> None:
        """From now on these, and no others. A folder that is new counts as changed at the next look."""
        self._seen = {folder: self._seen.get(folder, ()) for folder in folders}

    def changed(self) -> list[str]:
        """The folders in which something was written since the last look."""
        now = {folder: _look(folder) for folder in self._seen}
        found = [folder for folder, seen in now.items() if seen != self._seen[folder]]
        self._seen = now
        return found


def _look(folder: str) -> _Seen:
    run = RunFolder.at(folder)
    return tuple(_sign(path) for path in (run.claim, run.process, run.exit, run.metrics, run.status))


def _sign(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
