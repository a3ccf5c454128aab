"""A machine that is reached over SSH. Every method is one round trip."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.utils.translation import gettext as _

from platform_runtime.pruning import Found, Removed

from .base import CommandResult, FileStat, Tail
from .connection import Connection
from .errors import TransportError, refusal

QUICK_S: Final = 10.0
SLOW_S: Final = 60.0
"""For what goes through many files, or hashes large ones."""
HASH_S: Final = 600.0
AHEAD: Final = 4 << 20
"""Bytes that are brought ahead at a time: what many runs wrote since they were looked at, not what one never read."""


class SshTransport:
    """Of one thread: what it brings ahead is its own. The connection is everybody's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._brought: dict[Tail, tuple[FileStat | None, bytes]] = {}

    def _ask(
        self,
        op: str,
        *,
        about: str = "",
        body: bytes = b"",
        timeout_s: float = QUICK_S,
        again: bool = True,
        **args: Any,
    ) -> tuple[Any, bytes]:
        """`about`: the path that it is about, which has to lie below the host's root."""
        if about:
            self._refuse_outside(about)
        told, content = self._connection.ask(op, args, body, timeout_s, again=again)
        error = told.get("error")
        if error is None:
            return told["ok"], content
        if "errno" not in error:
            raise TransportError(error["message"])
        failed = OSError(error["errno"], error["strerror"], error["path"])
        if isinstance(failed, FileNotFoundError):
            raise failed
        raise refusal(failed, error["path"], error["free"]) from failed

    def _refuse_outside(self, path: str) -> None:
        """What the platform reads, writes and removes there are its own files: nothing else is its business."""
        root = self._connection.account.root
        if not root or not path.startswith(f"{root}/") or ".." in path.split("/"):
            told = _("%(path)s is not below the root folder of %(host)s.")
            raise TransportError(told % {"path": path, "host": self._connection.account.name})

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        timeout_s = QUICK_S + limit / (1 << 20)
        return self._ask("read", about=path, timeout_s=timeout_s, path=path, offset=offset, limit=limit)[1]

    def stat(self, path: str) -> FileStat | None:
        found = self._ask("stat", about=path, path=path)[0]
        return FileStat(*found) if found is not None else None

    def tail(self, path: str, offset: int, limit: int) -> tuple[FileStat | None, bytes]:
        if (known := self._brought.pop(Tail(path, offset, limit), None)) is not None:
            return known
        timeout_s = QUICK_S + limit / (1 << 20)
        found, data = self._ask("tail", about=path, timeout_s=timeout_s, path=path, offset=offset, limit=limit)
        return (FileStat(*found) if found is not None else None), data

    @contextmanager
    def ahead(self, asked: Sequence[Tail]) -> Iterator[None]:
        self._brought = self._bring(asked) if asked else {}
        try:
            yield
        finally:
            self._brought = {}

    def _bring(self, asked: Sequence[Tail]) -> dict[Tail, tuple[FileStat | None, bytes]]:
        for one in asked:
            self._refuse_outside(one.path)
        sent = [(one.path, one.offset, one.limit) for one in asked]
        told, content = self._ask("tails", asked=sent, most=AHEAD)
        brought: dict[Tail, tuple[FileStat | None, bytes]] = {}
        begin = 0
        for one, answer in zip(asked, told, strict=True):
            if answer is None:
                continue
            found, size = answer
            brought[one] = (FileStat(*found) if found is not None else None), content[begin : begin + size]
            begin += size
        return brought

    def is_folder(self, path: str) -> bool:
        return bool(self._ask("is_folder", about=path, path=path)[0])

    def listdir(self, path: str) -> list[str]:
        return list(self._ask("listdir", about=path, path=path)[0])

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        timeout_s = QUICK_S + len(data) / (1 << 20)
        self._ask("write", about=path, body=data, timeout_s=timeout_s, path=path, mode=mode)

    def create_exclusive(self, path: str, data: bytes) -> bool:
        return bool(self._ask("create_exclusive", about=path, body=data, again=False, path=path)[0])

    def remove_tree(self, path: str) -> None:
        self._ask("remove_tree", about=path, timeout_s=SLOW_S, path=path)

    def part_size(self, path: str) -> int:
        return int(self._ask("part_size", about=path, path=path)[0])

    def add_part(self, path: str, offset: int, data: bytes) -> int:
        timeout_s = QUICK_S + len(data) / (1 << 18)
        return int(self._ask("add_part", about=path, body=data, timeout_s=timeout_s, path=path, offset=offset)[0])

    def end_part(self, path: str, sha256: str) -> bool:
        return bool(self._ask("end_part", about=path, timeout_s=HASH_S, again=False, path=path, sha256=sha256)[0])

    def digest(self, path: str) -> str | None:
        found = self._ask("digest", about=path, timeout_s=HASH_S, path=path)[0]
        return str(found) if found is not None else None

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        input: bytes = b"",
        timeout_s: float = 30,
    ) -> CommandResult:
        (code, cut), content = self._ask(
            "run",
            body=input,
            timeout_s=timeout_s + QUICK_S,
            again=False,
            argv=list(argv),
            env=dict(env) if env is not None else None,
            cwd=cwd,
            seconds=timeout_s,
        )
        return CommandResult(code, content[:cut], content[cut:])

    def probe(self, folders: Sequence[str]) -> list[dict[str, Any]]:
        return list(self._ask("probe", folders=list(folders))[0])

    def bearers(self) -> dict[str, list[int]]:
        return dict(self._ask("bearers")[0])

    def last_checkpoint(self, folder: str) -> int | None:
        found = self._ask("last_checkpoint", about=folder, timeout_s=SLOW_S, folder=folder)[0]
        return int(found) if found is not None else None

    def checkpoints(self, run: str, attempts: Sequence[int]) -> list[Found]:
        found = self._ask("checkpoints", about=run, timeout_s=SLOW_S, run=run, attempts=list(attempts))[0]
        return [Found(**one) for one in found]

    def remove_checkpoints(self, run: str, chosen: Sequence[tuple[int, int]]) -> list[Removed]:
        asked = [[attempt, step] for attempt, step in chosen]
        found = self._ask("remove_checkpoints", about=run, timeout_s=SLOW_S, again=False, run=run, chosen=asked)[0]
        return [Removed(**one) for one in found]

    def stop(self, folder: str) -> str:
        return str(self._ask("stop", about=folder, folder=folder)[0])

    def kill(self, folder: str) -> list[int]:
        return list(self._ask("kill", about=folder, timeout_s=SLOW_S, folder=folder)[0])

    def facts(self, root: str, python: str) -> dict[str, Any]:
        return dict(self._ask("facts", timeout_s=SLOW_S, root=root, python=python)[0])
