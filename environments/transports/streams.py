"""A file of a host as a stream, for what reads streams."""

import io
from typing import Any, Final

from .base import Transport

CHUNK: Final = 1 << 20


class HostFile(io.RawIOBase):
    """Reads a file piece by piece, each in one round trip. Raises what `Transport.read` raises."""

    def __init__(self, transport: Transport, path: str) -> None:
        super().__init__()
        self._transport = transport
        self._path = path
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        found = self._transport.read(self._path, self._offset, min(len(view), CHUNK))
        view[: len(found)] = found
        self._offset += len(found)
        return len(found)


def opened(transport: Transport, path: str) -> io.BufferedReader:
    """The file at `path` from its beginning."""
    return io.BufferedReader(HostFile(transport, path), CHUNK)
