"""One kept channel to the program that serves a host (`platform_runtime.serve`): a request, its answer, the next."""

import json
import secrets
import shlex
import time
from pathlib import Path
from typing import Any, Final

import paramiko
from django.utils.translation import gettext as _

from environments.package import archive, package
from platform_runtime.serve import HEAD

from .errors import Unreachable, no_connection

_BOOT: Final = (Path(__file__).parent / "boot.py").read_bytes()
_FIRST: Final = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
_DISTURBED: Final = "invalid literal for int()"
"""What Python says of the above where somebody took the first of its input."""
START_S: Final = 20.0
_MOST_NOISE: Final = 1 << 20
_WINDOW: Final = 1 << 22


class Lost(Exception):
    """The channel is gone, or what comes from it cannot be understood. Whether the request was carried out: unknown."""


class Silent(Lost):
    """Nothing came in time: most likely nobody is there any more."""


class Channel:
    """Not for two threads at a time. `root` is the host's folder as the host sees it."""

    def __init__(self, channel: paramiko.Channel, *, python: str, root: str) -> None:
        """Starts the program. Raises Unreachable with what hinders it, Lost."""
        self._channel = channel
        self._held = bytearray()
        self.root = self._start(python, root)

    @classmethod
    def over(cls, transport: paramiko.Transport, *, python: str, root: str) -> "Channel":
        try:
            opened = transport.open_session(window_size=_WINDOW, timeout=START_S)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise Lost(no_connection(error)) from error
        try:
            return cls(opened, python=python, root=root)
        except BaseException:
            opened.close()
            raise

    @property
    def alive(self) -> bool:
        return not (self._channel.closed or self._channel.eof_received)

    def close(self) -> None:
        self._channel.close()

    def ask(self, op: str, args: dict[str, Any], body: bytes, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """Head and body of the answer. Raises Lost; the channel is of no use then."""
        self.send(op, args, body, timeout_s)
        return self.receive(timeout_s)

    def send(self, op: str, args: dict[str, Any], body: bytes, timeout_s: float) -> None:
        head = json.dumps({"op": op, "args": args}).encode()
        frame = HEAD.pack(len(head), len(body)) + head + body
        try:
            self._channel.settimeout(timeout_s)
            self._channel.sendall(frame)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise Lost(no_connection(error)) from error

    def receive(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        until = time.monotonic() + timeout_s
        head, body = HEAD.unpack(self._take(HEAD.size, until))
        try:
            told = json.loads(self._take(head, until))
        except ValueError as error:
            raise Lost("the answer is not JSON") from error
        return told, self._take(body, until)

    def _take(self, size: int, until: float) -> bytes:
        while len(self._held) < size:
            self._more(until)
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _more(self, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise Silent("no answer in time")
        try:
            self._channel.settimeout(left)
            piece = self._channel.recv(1 << 16)
        except TimeoutError as error:
            raise Silent("no answer in time") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise Lost(no_connection(error)) from error
        if not piece:
            raise Lost("the channel was closed")
        self._held += piece

    # --- the start ----------------------------------------------------------------------------------------------

    def _start(self, python: str, root: str) -> str:
        until = time.monotonic() + START_S
        mark = f"anneal-{secrets.token_hex(8)} "
        digest, _files = package()
        first = json.dumps({"mark": mark, "root": root, "digest": digest}).encode()
        try:
            self._channel.settimeout(START_S)
            self._channel.exec_command(f"exec {shlex.join([python, '-I', '-c', _FIRST])}")
            self._channel.sendall(b"%d\n%s%s\n" % (len(_BOOT), _BOOT, first))
            told = self._heard(mark.encode(), python, until)
            if told.get("need"):
                self._channel.sendall(b"%d\n%s" % (len(archive()), archive()))
                told = self._heard(mark.encode(), python, until)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._not_started(python, error) from error
        if not told.get("ready"):
            raise Unreachable(_problem(told))
        return str(told["root"])

    def _heard(self, mark: bytes, python: str, until: float) -> dict[str, Any]:
        """The next line behind the mark. Before it may stand anything: login shells greet, and warn."""
        while True:
            begin = self._held.find(mark)
            end = self._held.find(b"\n", begin) if begin >= 0 else -1
            if end >= 0:
                line = bytes(self._held[begin + len(mark) : end])
                del self._held[: end + 1]
                told: dict[str, Any] = json.loads(line)
                return told
            if len(self._held) > _MOST_NOISE:
                raise Unreachable(_("The login shell prints without end: make it quiet for programs that log in."))
            try:
                self._more(until)
            except Silent as silent:
                why = _(
                    "It lets us in, and Python has not started there within %(seconds)d s: its login shell waits for "
                    "something, or its disk does not answer."
                )
                raise Unreachable(why % {"seconds": START_S}) from silent
            except Lost as lost:
                raise self._not_started(python, lost) from lost

    def _not_started(self, python: str, error: Exception) -> Exception:
        lost = error if isinstance(error, Lost) else Lost(no_connection(error))
        if not self._channel.eof_received and not self._channel.exit_status_ready():
            return lost
        self._channel.status_event.wait(1.0)
        code = self._channel.exit_status
        said = self._said() or bytes(self._held).decode(errors="replace").strip()[-300:]
        if code == 127 or "not found" in said:
            told = _(
                "There is no Python at “%(python)s”: name one of 3.11 or newer as the host's Python. It said: %(said)s"
            )
            return Unreachable(told % {"python": python, "said": said})
        if code == -1 and not said:
            return lost
        if _DISTURBED in said:
            return Unreachable(
                _("The login shell reads what is meant for Python: let it read nothing for programs that log in.")
            )
        told = _("Python could not be started there (exit code %(code)s): %(said)s")
        return Unreachable(told % {"code": code, "said": said or _("it said nothing")})

    def _said(self) -> str:
        said = b""
        while self._channel.recv_stderr_ready() and len(said) < 4096:
            said += self._channel.recv_stderr(4096)
        return said.decode(errors="replace").strip()[-300:]


def _problem(told: dict[str, Any]) -> str:
    if told.get("problem") == "python":
        return _(
            "%(path)s there is Python %(version)s; 3.11 or newer is needed. Name another one as the host's Python."
        ) % {
            "path": told.get("path"),
            "version": told.get("version"),
        }
    return _("The root folder %(path)s cannot be used: %(message)s.") % {
        "path": told.get("path"),
        "message": told.get("message"),
    }
