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
        return _fingerprint(self.inode, self.before_of(consumed))

    def before_of(self, consumed: int) -> bytes:
        """The last bytes of the file before `consumed` bytes of `data`."""
        return (self.before + self.data[max(0, consumed - TAIL) : consumed])[-TAIL:]


def asks(path: str, offset: int, fingerprint: str) -> Tail:
    """What `MetricsFile.read` asks of the host for this, before it has read anything."""
    tail = int(fingerprint.split(":")[1]) if fingerprint else 0
    return Tail(path, offset - tail, tail + PORTION)


class MetricsFile:
    """Keeps the last portion: what of it was not used is not asked for again, for all the while that a file of many
    portions is read."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self.path = path
        self._last: tuple[int, Portion] | None = None

    def read(self, offset: int, fingerprint: str) -> Portion | None:
        """What stands behind `offset`; None when there is no file. `fingerprint` is that of the last portion, or
        empty. Raises NotAFile, Replaced, and what the transport raises."""
        last, self._last = self._last, None
        portion = (last and self._behind(*last, offset, fingerprint)) or self._from(offset, fingerprint)
        self._last = (offset, portion) if portion is not None else None
        return portion

    def _behind(self, start: int, last: Portion, offset: int, fingerprint: str) -> Portion | None:
        """The rest of a portion that began at `start`, and what follows it in the file; None when they do not belong
        together, or it has no rest."""
        used = offset - start
        rest = last.data[used:] if used > 0 else b""
        if not rest or not _is_of(fingerprint, last.before_of(used)):
            return None
        tail = rest[-TAIL:]
        end = offset + len(rest)
        found, data = self._transport.tail(self.path, end - len(tail), len(tail) + PORTION - len(rest))
        if found is None or not found.is_file or data[: len(tail)] != tail:
            return None
        more = end - len(tail) + len(data) < found.size
        return Portion(rest + data[len(tail) :], more, found.inode, last.before_of(used))

    def _from(self, offset: int, fingerprint: str) -> Portion | None:
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
        if fingerprint and not _is_of(fingerprint, before):
            raise Replaced(self.path)
        return Portion(data[tail:], offset - tail + len(data) < found.size, found.inode, before)


def _is_of(fingerprint: str, before: bytes) -> bool:
    """Whether these bytes were the end of what was read. The same bytes under a new inode are a copy put in the file's
    place, and the reading goes on; other bytes are another file, whatever its inode."""
    return fingerprint.split(":", 1)[1:] == _fingerprint(0, before).split(":", 1)[1:]


def _fingerprint(inode: int, tail: bytes) -> str:
    return f"{inode}:{len(tail)}:{hashlib.sha256(tail).hexdigest()[:40]}"
