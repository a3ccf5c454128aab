"""What the platform does with files and programs of a host, on the host itself. Stdlib only.

The platform calls it directly on its own machine, and through `serve` on every other. Functions raise OSError as the
system said it, or `Refused` with a sentence.
"""

import errno
import hashlib
import os
import shutil
import stat as stat_module
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from platform_runtime import files

PART: Final = ".part"
"""What is not here in whole yet stands under this ending."""
_PIECE: Final = 1 << 20


class Refused(Exception):
    """Not what was asked for. The message is for people."""


def read(path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
    """At most `limit` bytes from `offset` of a regular file."""
    # Not blocking: a FIFO left in a file's place must not hold the reader. Following no link: a run could have its
    # log shown from a file that the platform may read and the run's author may not.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat_module.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(f"{path}: not a regular file")
        return os.pread(descriptor, limit, offset)
    finally:
        os.close(descriptor)


def stat(path: str) -> tuple[int, int, int, bool] | None:
    """(size, inode, mtime in ns, whether it is a regular file); None when there is nothing."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size, found.st_ino, found.st_mtime_ns, stat_module.S_ISREG(found.st_mode)


def tail(path: str, offset: int, limit: int) -> tuple[tuple[int, int, int, bool] | None, bytes]:
    """As `stat`, with at most `limit` bytes from `offset` of what it tells of; none where that is no file, or ends
    before."""
    found = stat(path)
    if found is None or not found[3] or found[0] <= offset:
        return found, b""
    try:
        return found, read(path, offset, min(limit, found[0] - offset))
    except FileNotFoundError:
        return None, b""
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return (*found[:3], False), b""  # a link to a file is none


def tails(
    asked: Sequence[tuple[str, int, int]], most: int
) -> list[tuple[tuple[int, int, int, bool] | None, bytes] | None]:
    """As `tail` for each (path, offset, limit), at most `most` bytes together. None for one that would be more, or that
    cannot be read: whoever asks for it alone gets it, or is told why not."""
    found: list[tuple[tuple[int, int, int, bool] | None, bytes] | None] = []
    for path, offset, limit in asked:
        try:
            one = tail(path, offset, min(limit, most + 1))
        except (OSError, Refused):
            found.append(None)
            continue
        if len(one[1]) > most:
            found.append(None)
            continue
        most -= len(one[1])
        found.append(one)
    return found


def is_folder(path: str) -> bool:
    """A link to a folder is none."""
    try:
        return stat_module.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def listdir(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def write(path: str, data: bytes, mode: int = 0o600) -> None:
    """Whole and atomically; makes parent folders, 0700."""
    temporary = _beside(path, data, mode)
    try:
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def create_exclusive(path: str, data: bytes) -> bool:
    """Create with content, or answer False when the name is taken."""
    temporary = _beside(path, data, 0o600)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def _beside(path: str, data: bytes, mode: int) -> str:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = files.write_beside(path, data)
    os.chmod(temporary, mode)
    return temporary


def remove_tree(path: str) -> None:
    """A file or a folder, never what a link leads to; nothing there is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def part_size(path: str) -> int:
    """Bytes that came so far of a file that is being sent."""
    found = stat(path + PART)
    return found[0] if found is not None else 0


def add_part(path: str, offset: int, data: bytes) -> int:
    """Put `data` at `offset` of what came so far and cut what lies behind it; its size then."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path + PART, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.seek(offset)
        file.write(data)
        file.truncate()
    return offset + len(data)


def end_part(path: str, sha256: str) -> bool:
    """Give a file that was sent its name if it is what it should be; it is thrown away when it is not."""
    part = path + PART
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    if digest(part) != sha256:
        os.unlink(part)
        return False
    os.replace(part, path)
    return True


def digest(path: str) -> str | None:
    """The SHA-256 of a regular file, in hexadecimal; None when there is nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat_module.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(f"{path}: not a regular file")
        found = hashlib.sha256()
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def run(
    argv: Sequence[str], env: Mapping[str, str] | None, cwd: str | None, content: bytes, timeout_s: float
) -> tuple[int, bytes, bytes]:
    """Run to its end, without a shell: (exit code, standard output, standard error). `env` is the whole environment."""
    try:
        done = subprocess.run(
            list(argv), env=env, cwd=cwd, input=content, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{argv[0]} did not end within {timeout_s:g} s") from error
    except OSError as error:
        raise Refused(f"{argv[0]} cannot be started: {error.strerror}") from error
    return done.returncode, done.stdout, done.stderr


def free_above(path: str) -> int | None:
    """Free bytes on the volume of `path`, which need not be there yet."""
    folder = path
    while True:
        free = files.free_bytes(folder)
        above = os.path.dirname(folder)
        if free is not None or above == folder:
            return free
        folder = above
