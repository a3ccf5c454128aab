"""A host over SSH, on loopback: what a read costs beside what a bare channel costs, 50 jobs in one look, and how soon
a line that was written there is on an open socket."""

import asyncio
import getpass
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import paramiko

from environments.models import Host
from environments.transports import for_host
from environments.transports.connection import forget, greeted, key_line, opened_socket
from environments.transports.secrets import Secret
from pipelines.models import Attempt
from pipelines.services import observe

from .figures import Figures, spread, timed
from .live import follow
from .sandbox import Platform, Run, line, redis_server

GREW: Final = 10_240
READS: Final = 300
JOBS: Final = 50
LOOKS: Final = 10
ECHO: Final = (
    f"import sys\ni, o = sys.stdin.buffer, sys.stdout.buffer\nwhile i.read(1): o.write(b'x' * {GREW}); o.flush()"
)


class NoServer(Exception):
    """There is no sshd on this machine."""


def measure(figures: Figures) -> None:
    with _sshd() as far:
        _reads(figures, far)
        _looks(figures, far)
        with redis_server(), Platform(with_worker=True) as platform:
            program, page = asyncio.run(follow(platform, 1, figures.amount(60, 5), 0.2, far))
        figures.figures["live_ms"] = {"program": spread(program), "page": spread(page)}
        figures.at_most("live_p95_ms", max(spread(program)["p95"], spread(page)["p95"]), 500.0)
        forget(far.pk)


def _reads(figures: Figures, far: Host) -> None:
    """10 KB at the end of a file of 20 MB, and the same bytes through a channel with nothing behind it."""
    transport, path, size = for_host(far), f"{far.root}/grown", 20 << 20
    transport.write(path, bytes(size))
    with _bare(far) as channel:
        limit = timed(lambda: _echo(channel), figures.amount(READS, 10))
    ours = timed(lambda: transport.read(path, size - GREW, GREW), figures.amount(READS, 10))
    figures.figures["read_ms"], figures.limit["read_ms"] = spread(ours), spread(limit)
    figures.ratios["read"] = round(spread(ours)["p50"] / spread(limit)["p50"], 3)
    figures.at_most("read_over_limit", figures.ratios["read"], 2.0)


def _looks(figures: Figures, far: Host) -> None:
    """Fifty jobs, each of which wrote a line since the look before: there, and the same on this machine."""
    jobs, looks = figures.amount((JOBS, LOOKS), (2, 2))
    there, quiet = _look_at_all(far, jobs, looks)
    here, _ = _look_at_all(Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk")[0], jobs, looks)
    figures.figures["look_at_50_ms"], figures.figures["look_at_50_quiet_ms"] = spread(there), spread(quiet)
    figures.limit["look_at_50_here_ms"] = spread(here)
    figures.ratios["look_at_50"] = round(spread(there)["p50"] / spread(here)["p50"], 3)
    figures.at_most("look_at_50_ms", spread(there)["p50"], 150.0)


def _look_at_all(host: Host, jobs: int, looks: int) -> tuple[list[float], list[float]]:
    """Seconds of looks after each job wrote, and of looks after none did."""
    runs = [Run(with_runner=True, host=host) for _ in range(jobs)]
    try:
        observe.observe_host(host.pk)
        taken = []
        for step in range(1, looks + 1):
            for run in runs:
                run.write(line(step))
            started = time.perf_counter()
            assert observe.observe_host(host.pk) == jobs, "each job is looked at"
            taken.append(time.perf_counter() - started)
        return taken, timed(lambda: observe.observe_host(host.pk), looks)
    finally:
        for run in runs:
            run.end()
            Attempt.objects.filter(pk=run.attempt.pk).update(outcome="lost")


@contextmanager
def _bare(far: Host) -> Iterator[paramiko.Channel]:
    transport = paramiko.Transport(opened_socket(far.address, far.port))
    try:
        transport.start_client(timeout=10)
        transport.auth_publickey(far.user, Secret.opened(far.secret).key())
        channel = transport.open_session()
        channel.exec_command(f'exec {sys.executable} -u -c "{ECHO}"')
        yield channel
    finally:
        transport.close()


def _echo(channel: paramiko.Channel) -> None:
    channel.sendall(b"x")
    left = GREW
    while left:
        left -= len(channel.recv(left))


@contextmanager
def _sshd() -> Iterator[Host]:
    """A server of our own for ourselves, and a host that is reached through it."""
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(program).exists():
        raise NoServer("bench ssh needs an sshd (Debian: openssh-server)")
    local = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk")[0]
    with tempfile.TemporaryDirectory(prefix="anneal-bench-sshd-") as folder:
        for name in ("host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}"], check=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        if Path("/run").stat().st_uid == 0 and getpass.getuser() == "root":
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = Path(folder, "config")
        config.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
            f"PermitRootLogin yes\nStrictModes no\nAuthorizedKeysFile {folder}/key.pub\n"
        )
        server = subprocess.Popen([program, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            shown = greeted("127.0.0.1", port, "far")
            host_key = key_line(shown.get_remote_server_key())
            shown.close()
            yield Host.objects.create(
                project=local.project,
                name="far",
                kind=Host.Kind.SSH,
                address="127.0.0.1",
                port=port,
                user=getpass.getuser(),
                host_key=host_key,
                secret=Secret(private_key=Path(folder, "key").read_text()).sealed(),
                root=f"{local.root}/far",
                python=sys.executable,
                slots=100,
            )
        finally:
            server.terminate()
            server.wait(10)
