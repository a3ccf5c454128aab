"""This machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from platform_runtime import checkpoints, facts, host, probe, processes, pruning, reaper

from .base import CommandResult, FileStat, Tail
from .errors import TransportError, refusal


@contextmanager
def _named_failures(path: str) -> Iterator[None]:
    """Turn the operating system's refusal into one sentence that says what to do."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refusal(error, path, host.free_above(path)) from error
    except host.Refused as error:
        raise TransportError(str(error)) from error


class LocalTransport:
    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        with _named_failures(path):
            return host.read(path, offset, limit)

    def stat(self, path: str) -> FileStat | None:
        with _named_failures(path):
            found = host.stat(path)
            return FileStat(*found) if found is not None else None

    def tail(self, path: str, offset: int, limit: int) -> tuple[FileStat | None, bytes]:
        with _named_failures(path):
            found, data = host.tail(path, offset, limit)
            return (FileStat(*found) if found is not None else None), data

    def ahead(self, asked: Sequence[Tail]) -> AbstractContextManager[None]:
        return nullcontext()  # there is no way to spare

    def is_folder(self, path: str) -> bool:
        return host.is_folder(path)

    def listdir(self, path: str) -> list[str]:
        with _named_failures(path):
            return host.listdir(path)

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        with _named_failures(path):
            host.write(path, data, mode)

    def create_exclusive(self, path: str, data: bytes) -> bool:
        with _named_failures(path):
            return host.create_exclusive(path, data)

    def remove_tree(self, path: str) -> None:
        with _named_failures(path):
            host.remove_tree(path)

    def part_size(self, path: str) -> int:
        with _named_failures(path):
            return host.part_size(path)

    def add_part(self, path: str, offset: int, data: bytes) -> int:
        with _named_failures(path):
            return host.add_part(path, offset, data)

    def end_part(self, path: str, sha256: str) -> bool:
        with _named_failures(path):
            return host.end_part(path, sha256)

    def digest(self, path: str) -> str | None:
        with _named_failures(path):
            return host.digest(path)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        input: bytes = b"",
        timeout_s: float = 30,
    ) -> CommandResult:
        with _named_failures(argv[0]):
            return CommandResult(*host.run(argv, env, cwd, input, timeout_s))

    def probe(self, folders: Sequence[str]) -> list[dict[str, Any]]:
        return [probe.probe_run(folder) for folder in folders]

    def bearers(self) -> dict[str, list[int]]:
        return processes.bearers()

    def last_checkpoint(self, folder: str) -> int | None:
        return checkpoints.survey(folder).step

    def checkpoints(self, run: str, attempts: Sequence[int]) -> list[pruning.Found]:
        with _named_failures(run):
            return pruning.survey(run, attempts)

    def remove_checkpoints(self, run: str, chosen: Sequence[tuple[int, int]]) -> list[pruning.Removed]:
        with _named_failures(run):
            return pruning.remove(run, chosen)

    def stop(self, folder: str) -> str:
        return reaper.stop(folder)

    def kill(self, folder: str) -> list[int]:
        return reaper.kill(folder)

    def facts(self, root: str, python: str) -> dict[str, Any]:
        with _named_failures(root):
            return facts.facts(root, python)
