"""Small files that readers see whole or not at all. Stdlib only."""

import contextlib
import os
import stat
import tempfile
from typing import Final, TypeVar

from platform_runtime.message import ContractError, Message

M = TypeVar("M", bound=Message)

MOST_BYTES: Final = 4 << 20
"""Of a message. A file that is longer is none."""


def write_beside(path: str, content: bytes) -> str:
    """A new private file next to `path` with `content`; its path. Raises OSError and then leaves nothing."""
    folder, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        remove(temporary)
        raise
    return temporary


def replace(path: str, content: bytes) -> None:
    """Write `path` atomically. Raises OSError; the old file then stands as it was."""
    temporary = write_beside(path, content)
    try:
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def create_exclusive(path: str, content: bytes) -> bool:
    """Create `path` with `content`, both at once, or answer False when it exists. Raises OSError."""
    temporary = write_beside(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        # A network file system may have done it and lost the answer: then the file has both names.
        return os.stat(temporary).st_nlink == 2
    finally:
        remove(temporary)
    return True


def free_bytes(path: str) -> int | None:
    """Free for us on the volume that holds `path`; None when nobody can tell."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def load(kind: type[M], path: str) -> M | None:
    """The message in a file; None when there is none, or none that can be read."""
    try:
        return kind.from_bytes(_content(path))
    except (OSError, ContractError):
        return None


def _content(path: str) -> bytes:
    """Of a regular file and no other: opening a pipe that was put in its place would wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        return file.read(MOST_BYTES)
