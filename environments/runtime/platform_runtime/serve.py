"""Answers what the platform asks of a host, over the standard input and output of a kept SSH channel. Stdlib only.

A message is a frame: the lengths of a head and of a body (4 bytes each, big-endian), the head in JSON, the body as it
is. A request's head is `{op, args}`, an answer's `{ok}` or `{error}`; one answer a request, in order. `follow` is the
exception: from then on the host speaks by itself, `{ok: [folder, …]}` whenever one of the folders changed, and an
empty list as a sign of life. The program ends with its input.
"""

import errno
import json
import os
import select
import struct
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from platform_runtime import checkpoints, facts, follow, host, probe, processes, pruning, reaper

HEAD: Final = struct.Struct(">II")
MOST_HEAD: Final = 64 << 20
MOST_BODY: Final = 128 << 20
_READ: Final = 1 << 16

Answer = tuple[Any, bytes]


class Closed(Exception):
    """Nobody listens any more."""


class Wire:
    """Frames over two descriptors."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._held = bytearray()

    def receive(self, timeout_s: float | None = None) -> Answer | None:
        """The next (head, body); None when none came in time. Raises Closed."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if len(self._held) >= HEAD.size:
                head, body = HEAD.unpack_from(self._held)
                if head > MOST_HEAD or body > MOST_BODY:
                    raise Closed
                end = HEAD.size + head + body
                if len(self._held) >= end:
                    found = json.loads(self._held[HEAD.size : HEAD.size + head])
                    content = bytes(self._held[HEAD.size + head : end])
                    del self._held[:end]
                    return found, content
            if until is not None and not select.select([self._source], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            piece = os.read(self._source, _READ)
            if not piece:
                raise Closed
            self._held += piece

    def send(self, head: Any, body: bytes = b"") -> None:
        """Raises Closed."""
        told = json.dumps(head).encode()
        content = memoryview(HEAD.pack(len(told), len(body)) + told + body)
        try:
            while content:
                content = content[os.write(self._target, content) :]
        except OSError as error:
            raise Closed from error


def _read(body: bytes, path: str, offset: int, limit: int) -> Answer:
    return None, host.read(path, offset, min(limit, MOST_BODY))


def _tail(body: bytes, path: str, offset: int, limit: int) -> Answer:
    return host.tail(path, offset, min(limit, MOST_BODY))


def _tails(body: bytes, asked: list[tuple[str, int, int]], most: int) -> Answer:
    """The bytes of all, one after the other; with what each is, how many are its own."""
    found = host.tails(asked, min(most, MOST_BODY))
    told = [(one[0], len(one[1])) if one is not None else None for one in found]
    return told, b"".join(one[1] for one in found if one is not None)


def _write(body: bytes, path: str, mode: int) -> Answer:
    host.write(path, body, mode)
    return None, b""


def _remove_tree(body: bytes, path: str) -> Answer:
    host.remove_tree(path)
    return None, b""


def _run(body: bytes, argv: list[str], env: dict[str, str] | None, cwd: str | None, seconds: float) -> Answer:
    code, out, err = host.run(argv, env, cwd, body, seconds)
    return [code, len(out)], out + err


def _checkpoints(body: bytes, run: str, attempts: list[int]) -> Answer:
    return [asdict(found) for found in pruning.survey(run, attempts)], b""


def _remove_checkpoints(body: bytes, run: str, chosen: list[list[int]]) -> Answer:
    return [asdict(one) for one in pruning.remove(run, [(attempt, step) for attempt, step in chosen])], b""


OPERATIONS: Final[dict[str, Callable[..., Answer]]] = {
    "read": _read,
    "stat": lambda body, path: (host.stat(path), b""),
    "tail": _tail,
    "tails": _tails,
    "is_folder": lambda body, path: (host.is_folder(path), b""),
    "listdir": lambda body, path: (host.listdir(path), b""),
    "write": _write,
    "create_exclusive": lambda body, path: (host.create_exclusive(path, body), b""),
    "remove_tree": _remove_tree,
    "part_size": lambda body, path: (host.part_size(path), b""),
    "add_part": lambda body, path, offset: (host.add_part(path, offset, body), b""),
    "end_part": lambda body, path, sha256: (host.end_part(path, sha256), b""),
    "digest": lambda body, path: (host.digest(path), b""),
    "run": _run,
    "probe": lambda body, folders: ([probe.probe_run(folder) for folder in folders], b""),
    "bearers": lambda body: (processes.bearers(), b""),
    "last_checkpoint": lambda body, folder: (checkpoints.survey(folder).step, b""),
    "checkpoints": _checkpoints,
    "remove_checkpoints": _remove_checkpoints,
    "stop": lambda body, folder: (reaper.stop(folder), b""),
    "kill": lambda body, folder: (reaper.kill(folder), b""),
    "facts": lambda body, root, python: (facts.facts(root, python), b""),
}


def serve(source: int, target: int) -> None:
    """Until the input ends."""
    wire = Wire(source, target)
    try:
        while True:
            asked = wire.receive()
            assert asked is not None, "without a time-out something comes"
            if asked[0]["op"] == "follow":
                _follow(wire, asked[0]["args"]["folders"])
            wire.send(*_answer(asked[0], asked[1]))
    except Closed:
        return


def _answer(asked: dict[str, Any], body: bytes) -> Answer:
    args = asked["args"]
    try:
        value, content = OPERATIONS[asked["op"]](body, **args)
    except host.Refused as error:
        return {"error": {"message": str(error)}}, b""
    except OSError as error:
        path = next((args[name] for name in ("path", "run", "folder") if name in args), "")
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = {"errno": error.errno, "strerror": error.strerror or str(error), "path": path}
        return {"error": {**said, "free": host.free_above(path) if full else None}}, b""
    except Exception as error:  # whatever it was, the next request is answered too
        return {"error": {"message": f"{asked['op']}: {type(error).__name__}: {error}"}}, b""
    return {"ok": value}, content


def _follow(wire: Wire, folders: list[str]) -> None:
    """Never returns. Another request changes what is followed."""
    followed = follow.Followed()
    followed.follow(folders)
    told = time.monotonic()
    while True:
        if (found := followed.changed()) or time.monotonic() - told > follow.SIGN_OF_LIFE_S:
            wire.send({"ok": found})
            told = time.monotonic()
        asked = wire.receive(follow.LOOK_EVERY_S)
        if asked is not None:
            followed.follow(asked[0]["args"]["folders"])
