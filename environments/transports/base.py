"""What the platform asks of a host. Nothing above this line knows whether a file is local."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from platform_runtime.pruning import Found, Removed


@dataclass(frozen=True)
class FileStat:
    """`size` in bytes, `mtime_ns` in nanoseconds since the epoch by the host's clock."""

    size: int
    inode: int
    mtime_ns: int
    is_file: bool


@dataclass(frozen=True)
class Tail:
    """What `Transport.tail` is asked for: at most `limit` bytes from `offset`."""

    path: str
    offset: int
    limit: int


@dataclass(frozen=True)
class CommandResult:
    code: int
    stdout: bytes
    stderr: bytes


class Transport(Protocol):
    """Files and processes of one host. Paths are absolute there.

    Every method raises `Unreachable` when the host does not answer in its time, `TransportError` when it
    refuses (no space, no rights), and takes no database connection: call it outside transactions.
    """

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """At most `limit` bytes from `offset`. Raises FileNotFoundError."""

    def stat(self, path: str) -> FileStat | None:
        """None when there is nothing."""

    def tail(self, path: str, offset: int, limit: int) -> tuple[FileStat | None, bytes]:
        """`stat`, and in the same round trip at most `limit` bytes from `offset`, up to the size that it tells: none
        where no file is, or a shorter one."""

    def ahead(self, asked: Sequence[Tail]) -> AbstractContextManager[None]:
        """Bring in one round trip what `tail` will be asked for in its block: the first time, it is answered with that.
        What does not fit, or cannot be read, it asks for itself. Outside of the block nothing is kept."""

    def is_folder(self, path: str) -> bool:
        """Whether a folder stands there: a link to one is none."""

    def listdir(self, path: str) -> list[str]:
        """Names in a folder, sorted; empty when there is no folder."""

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Whole and atomically (readers see the old or the new file); makes parent folders, 0700."""

    def create_exclusive(self, path: str, data: bytes) -> bool:
        """Create with content, or answer False when the name is taken. Never both."""

    def remove_tree(self, path: str) -> None:
        """Remove a file or folder; nothing there is fine."""

    def part_size(self, path: str) -> int:
        """Bytes of a file that came so far; what is sent in pieces stands beside its place until it is whole."""

    def add_part(self, path: str, offset: int, data: bytes) -> int:
        """Put a piece at `offset` and cut what lies behind it; the bytes that came so far. The same twice is fine."""

    def end_part(self, path: str, sha256: str) -> bool:
        """Give the file its name if its content has that hash; False, and it is thrown away, when it has not."""

    def digest(self, path: str) -> str | None:
        """SHA-256 of a regular file, in hexadecimal; None when there is nothing."""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        input: bytes = b"",
        timeout_s: float = 30,
    ) -> CommandResult:
        """Run to its end, without a shell. `env` is the whole environment."""

    def probe(self, folders: Sequence[str]) -> list[dict[str, Any]]:
        """One `platform_runtime.probe` answer a folder, in one round trip, also without any: then the host has
        answered, and that is all."""

    def bearers(self) -> dict[str, list[int]]:
        """Launch token -> the living processes on the host that carry it, of all that we may look at."""

    def last_checkpoint(self, folder: str) -> int | None:
        """The latest step below a checkpoint folder that can be loaded, told without unpickling."""

    def checkpoints(self, run: str, attempts: Sequence[int]) -> list[Found]:
        """The checkpoints that these attempts of a run left, each told without unpickling whether it can be loaded.

        `run` is the folder above its attempts.
        """

    def remove_checkpoints(self, run: str, chosen: Sequence[tuple[int, int]]) -> list[Removed]:
        """Remove these (attempt, step) of a run; what was really removed.

        Follows no links, leaves the run's folder never, and keeps whatever is the only one that can be loaded.
        """

    def stop(self, folder: str) -> str:
        """Ask the runner of an attempt to end its command: "signalled" or "not_running"."""

    def kill(self, folder: str) -> list[int]:
        """End by force whatever an attempt left running; process ids that survived."""

    def facts(self, root: str, python: str) -> dict[str, Any]:
        """What the machine is (`platform_runtime.facts`), with the volume of `root` and the environment of `python`,
        which may be relative to the root."""
