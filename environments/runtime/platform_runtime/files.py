"""Small files that readers see whole or not at all. Stdlib only."""

import contextlib
import os
import tempfile
from typing import TypeVar

from platform_runtime.contract import ContractError, Message

M = TypeVar("M", bound=Message)


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


def remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def load(kind: type[M], path: str) -> M | None:
    """The message in a file; None when there is none, or none that can be read."""
    try:
        with open(path, "rb") as file:
            return kind.from_bytes(file.read())
    except (OSError, ContractError):
        return None
