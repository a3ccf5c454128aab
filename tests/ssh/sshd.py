"""A real sshd on loopback, or on a network of its own, with users and homes of its own, and a wire between that can be
cut."""

import os
import secrets
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from .network import Network

SSHD: Final = shutil.which("sshd") or "/usr/sbin/sshd"


def missing() -> str:
    """Why no sshd can be run here; empty when one can."""
    if not os.access(SSHD, os.X_OK):
        return "there is no sshd on this machine (Debian: openssh-server)"
    if os.geteuid() != 0:
        return "an sshd with users of its own needs root"
    if not shutil.which("useradd"):
        return "there is no useradd on this machine"
    return ""


def need() -> None:
    """Where none can be run, the test is skipped; in CI, where one has to be, it fails."""
    if why := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


@dataclass(frozen=True)
class Account:
    """A user of the machine, with a home whose name has a space in it."""

    name: str
    home: Path
    password: str
    private_key: str
    uid: int


class Sshd:
    """Started on `start`, which may come again after `stop`: it keeps its address, its port and its keys."""

    def __init__(self, network: Network | None = None) -> None:
        self.network = network
        self.address = network.address if network is not None else "127.0.0.1"
        # Not below pytest's folder: others than root have to get there.
        self.folder = Path(tempfile.mkdtemp(prefix="anneal-sshd-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._accounts: list[Account] = []
        self.new_host_key()

    def new_host_key(self) -> None:
        key = self.folder / "host_key"
        for file in (key, key.with_suffix(".pub")):
            file.unlink(missing_ok=True)
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))

    def start(self) -> None:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\n{self._addresses()}HostKey {self.folder}/host_key\nPidFile none\nUsePAM no\n"
            f"PermitRootLogin yes\nStrictModes no\nAuthorizedKeysFile {self.folder}/keys/%u\nMaxStartups 100\n"
        )
        command = [SSHD, "-D", "-e", "-f", str(config)]
        command = self.network.inside(*command) if self.network is not None else command
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex((self.address, self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def _addresses(self) -> str:
        here = [self.address, *(["::1"] if self.network is None and has_ipv6() else [])]
        return "".join(f"ListenAddress {one}\n" for one in here)

    def stop(self) -> None:
        """The listener and the sessions, as a machine that goes down."""
        if self._process is None:
            return
        for child in _below(self._process.pid):
            subprocess.run(["kill", "-9", str(child)], check=False, capture_output=True)
        self._process.kill()
        self._process.wait()
        self._process = None

    def account(self, *, as_root: bool = False) -> Account:
        """A new user. `as_root`: one that may read what root may, where the training environment is root's."""
        name = f"anneal{secrets.token_hex(4)}"
        home = self.folder / f"home of {name}"
        extra = ["-o", "-u", "0"] if as_root else []
        _do("useradd", "-M", "-d", str(home), "-s", "/bin/bash", *extra, name)
        home.mkdir(mode=0o755)
        password = secrets.token_urlsafe(12)
        _do("chpasswd", input=f"{name}:{password}\n")
        key = self.folder / f"{name}.key"
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        (self.folder / "keys").mkdir(exist_ok=True)
        shutil.copy(key.with_suffix(".key.pub"), self.folder / "keys" / name)
        found = next(line for line in Path("/etc/passwd").read_text().splitlines() if line.startswith(f"{name}:"))
        uid = int(found.split(":")[2])
        os.chown(home, uid, int(found.split(":")[3]))
        made = Account(name, home, password, key.read_text(), uid)
        self._accounts.append(made)
        return made

    def remove(self) -> None:
        self.stop()
        for account in self._accounts:
            if account.uid:
                subprocess.run(["pkill", "-9", "-U", str(account.uid)], check=False, capture_output=True)
            subprocess.run(["userdel", "-f", account.name], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.network is not None:
            self.network.close()


class Proxy:
    """Hands bytes on between its own port and `target`, until it is told otherwise."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._mute = threading.Event()
        self._refuse = threading.Event()
        self._limit: int | None = None
        self._delay_s = 0.0
        self._lock = threading.Lock()
        self.connections = 0
        self.swallowed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def mute(self) -> None:
        """Half-open: everything stays connected, and nothing passes any more."""
        self._mute.set()

    def refuse(self) -> None:
        """New connections are closed at once, and what there is, too."""
        self._refuse.set()
        self.cut()

    def cut(self) -> None:
        """Every connection ends, in the middle of whatever it was about."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _close(*pair)

    def cut_after(self, size: int) -> None:
        """Cut once the host has sent so many more bytes."""
        self._limit = size

    def delay(self, seconds: float) -> None:
        """Far away: so much later arrives what is sent, either way."""
        self._delay_s = seconds

    def restore(self) -> None:
        self._mute.clear()
        self._refuse.clear()
        self._limit = None

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._refuse.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while True:
                ready, _, _ = select.select([client, server], [], [], 1.0)
                for source in ready:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if self._mute.is_set():
                        self.swallowed += len(data)
                        continue
                    if source is server and self._limit is not None:
                        self._limit -= len(data)
                        if self._limit < 0:
                            self._limit = None
                            return
                    time.sleep(self._delay_s)
                    (server if source is client else client).sendall(data)
        except (OSError, ValueError):
            return
        finally:
            _close(client, server)


def _close(*ends: socket.socket) -> None:
    for one in ends:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()


def has_ipv6() -> bool:
    """Whether this machine has a loopback of that kind: some containers have none."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _below(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    children = [int(one) for one in found.stdout.split()]
    return [below for child in children for below in _below(child)] + children


def _do(*argv: str, input: str | None = None) -> None:
    """Two test processes may add users at the same time: then one of them finds the list of users locked."""
    for _ in range(20):
        done = subprocess.run(argv, input=input, capture_output=True, text=True, check=False)
        if "lock" not in done.stderr:
            break
        time.sleep(0.25)
    assert done.returncode == 0, f"{argv[0]}: {done.stderr}"
