"""New bytes of a metrics file, on whatever host: the transport knows how to get there. Bounded reads, and never the
bytes of a file that is no longer the one that was read before.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from environments.transports import Tail, Transport
from monitoring.store.lines import MAX_LINE

TAIL: Final = 2048
"""Bytes before the offset that are read again, to see that the file is still the one we know."""
PORTION: Final = 8 << 20
"""Bytes of one reading: room for a few chunks of steps, and for the longest line, so that a longer one shows."""

assert PORTION > MAX_LINE


class NotAFile(Exception):
    """A folder or a pipe stands in the file's place."""


class Replaced(Exception):
    """The file was cut, or is another one."""


@dataclass(frozen=True)
class Portion:
    """`data` begins at the offset asked for. `more` says whether the file goes on behind it."""

    data: bytes
    more: bool
    inode: int
    before: bytes
    """The bytes before the offset that were read again."""

    def fingerprint(self, consumed: int) -> str:
        """Of the file read up to `consumed` bytes of `data`."""
        tail = self.data[max(0, consumed - TAIL) : consumed]
        return _fingerprint(self.inode, (self.before + tail)[-TAIL:])


def asks(path: str, offset: int, fingerprint: str) -> Tail:
    """What `MetricsFile.read` asks of the host for this."""
    tail = int(fingerprint.split(":")[1]) if fingerprint else 0
    return Tail(path, offset - tail, tail + PORTION)


class MetricsFile:
    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self.path = path

    def read(self, offset: int, fingerprint: str) -> Portion | None:
        """What stands behind `offset`; None when there is no file. `fingerprint` is that of the last portion, or
        empty. Raises NotAFile, Replaced, and what the transport raises."""
        asked = asks(self.path, offset, fingerprint)
        found, data = self._transport.tail(asked.path, asked.offset, asked.limit)
        tail = offset - asked.offset
        if found is None:
            return None
        if not found.is_file:
            raise NotAFile(self.path)
        if found.size < offset:
            raise Replaced(self.path)
        before = data[:tail]
        # The same bytes under a new inode are a copy put in the file's place, and the reading goes on; other bytes
        # are another file, whatever its inode.
        if fingerprint and fingerprint.split(":", 1)[1] != _fingerprint(0, before).split(":", 1)[1]:
            raise Replaced(self.path)
        return Portion(data[tail:], offset - tail + len(data) < found.size, found.inode, before)


def _fingerprint(inode: int, tail: bytes) -> str:
    return f"{inode}:{len(tail)}:{hashlib.sha256(tail).hexdigest()[:40]}"
