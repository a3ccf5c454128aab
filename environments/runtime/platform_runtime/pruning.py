"""List and remove the checkpoints of one run, never outside its folder and never the last good one. Stdlib only.

A run's checkpoints stand in `<run>/checkpoints/attempt-<n>/global_step_<m>/`. Every folder below the one that holds
the runs is opened by descriptor, one name at a time, without following links: what a link leads to is not the run's.

Also a program: `python -P pruning.py list|remove` reads `{"run", "attempts"}` or `{"run", "chosen"}` as JSON from
standard input and writes the list of answers.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from platform_runtime import checkpoints

_CHECKPOINTS = "checkpoints"
_LOCK = ".pruning"
_ATTEMPT = re.compile(r"attempt-(\d+)")
_STEP = re.compile(r"global_step_(\d+)")
_LEAVING = re.compile(r"\.leaving-global_step_\d+")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Found:
    """One step's folder: whether it can be loaded, why not where it cannot, and how many bytes its files have."""

    attempt: int
    step: int
    ok: bool
    why: str
    size: int


@dataclass(frozen=True)
class Removed:
    """What was removed, and the bytes of it. `size` of a step that was gone already is 0."""

    attempt: int
    step: int
    size: int


def survey(run: str, attempts: Sequence[int]) -> list[Found]:
    """The checkpoints of these attempts, by attempt and step. Raises OSError; nothing there is fine."""
    found: list[Found] = []
    for attempt in sorted({int(attempt) for attempt in attempts}):
        with _opened(run, _CHECKPOINTS, f"attempt-{attempt}") as folder:
            if folder is not None:
                found += [_look(run, folder, attempt, step) for step in _steps(folder)]
    return found


def remove(run: str, chosen: Sequence[tuple[int, int]]) -> list[Removed]:
    """Remove these (attempt, step); what was really removed. Raises OSError.

    One at a time a run, whoever calls. A step goes only while another of the run, which is not to go, can be loaded,
    looked at again before each. It first gets another name: one that is half gone is no checkpoint, and whoever
    comes next ends what was begun.
    """
    wanted = {(int(attempt), int(step)) for attempt, step in chosen}
    removed: list[Removed] = []
    with _opened(run, _CHECKPOINTS) as top:
        if top is None:
            return removed
        with _locked(top):
            for attempt in sorted({attempt for attempt, _ in wanted}):
                with _opened(run, _CHECKPOINTS, f"attempt-{attempt}") as folder:
                    if folder is None:
                        continue
                    _end_what_was_begun(folder)
                    present = set(_steps(folder))
                    for step in sorted(step for number, step in wanted if number == attempt and step in present):
                        if not _another_is_good(run, top, wanted):
                            return removed
                        removed.append(Removed(attempt, step, _take_away(folder, step)))
    return removed


def _look(run: str, folder: int, attempt: int, step: int) -> Found:
    path = os.path.join(run, _CHECKPOINTS, f"attempt-{attempt}", f"global_step_{step}")
    try:
        checkpoints.verify(path)
    except (checkpoints.BadCheckpointError, OSError) as fault:
        return Found(attempt, step, False, str(fault)[:300], _size(folder, f"global_step_{step}"))
    return Found(attempt, step, True, "", _size(folder, f"global_step_{step}"))


def _another_is_good(run: str, top: int, going: set[tuple[int, int]]) -> bool:
    for name in sorted(os.listdir(top), reverse=True):
        match = _ATTEMPT.fullmatch(name)
        if match is None:
            continue
        with _opened(run, _CHECKPOINTS, name) as folder:
            for step in sorted(_steps(folder), reverse=True) if folder is not None else ():
                if (int(match[1]), step) in going:
                    continue
                try:
                    checkpoints.verify(os.path.join(run, _CHECKPOINTS, name, f"global_step_{step}"))
                except (checkpoints.BadCheckpointError, OSError):
                    continue
                return True
    return False


def _take_away(folder: int, step: int) -> int:
    name = f"global_step_{step}"
    size = _size(folder, name)
    leaving = f".leaving-{name}"
    os.rename(name, leaving, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    shutil.rmtree(leaving, dir_fd=folder)
    return size


def _end_what_was_begun(folder: int) -> None:
    for name in os.listdir(folder):
        if _LEAVING.fullmatch(name) and _is_folder(folder, name):
            shutil.rmtree(name, dir_fd=folder)


def _steps(folder: int) -> list[int]:
    """Steps with a folder of their own: a link is none."""
    matches = ((name, _STEP.fullmatch(name)) for name in os.listdir(folder))
    return sorted(int(match[1]) for name, match in matches if match and _is_folder(folder, name))


def _is_folder(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _size(folder: int, name: str) -> int:
    """Bytes of the regular files below; links count for nothing."""
    total = 0
    for _path, _folders, names, descriptor in os.fwalk(name, dir_fd=folder, follow_symlinks=False):
        for one in names:
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(one, dir_fd=descriptor, follow_symlinks=False)
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


@contextmanager
def _opened(run: str, *names: str) -> Iterator[int | None]:
    """A folder of the run, by descriptor; None where there is none.

    Raises OSError: ELOOP where a link stands in its place.
    """
    home, name = os.path.split(os.path.abspath(run))
    descriptors: list[int] = []
    try:
        try:
            descriptors.append(os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            for part in (name, *names):
                descriptors.append(_open_folder(part, descriptors[-1]))
        except FileNotFoundError:
            yield None
            return
        yield descriptors[-1]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _open_folder(name: str, parent: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except NotADirectoryError:
        # What Linux says of a link, too, when a folder is asked for.
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


@contextmanager
def _locked(folder: int) -> Iterator[None]:
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str]) -> int:
    asked: Mapping[str, Any] = json.load(sys.stdin)
    match list(arguments):
        case ["list"]:
            answers: Sequence[Found | Removed] = survey(asked["run"], asked["attempts"])
        case ["remove"]:
            answers = remove(asked["run"], [(attempt, step) for attempt, step in asked["chosen"]])
        case _:
            sys.stderr.write("usage: pruning.py list|remove\n")
            return 2
    json.dump([asdict(answer) for answer in answers], sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
