"""Starts the platform's processes and starts again what dies: `python -m platform_site.supervisor`.

Standard library only, without Django, single-threaded and small, so that it has little to die of. It never touches
training runs: those are in sessions of their own, are nobody's children here, and outlive every platform process.
Killed itself, the kernel tells its children to end; the next supervisor ends whatever is left before it starts.
"""

import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from . import environ, valkey
from .up import state
from .up.processes import die_with_parent, end, start_time

log = logging.getLogger("anneal.supervisor")

BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
HEALTHY_S: Final = 60.0
"""Alive for so long, a process's earlier deaths are forgotten."""
GRACE_S: Final = 15.0
SETUP_DELAY_S: Final = 4.0
"""The set-up of the training environment keeps both cores busy: the pages come up first."""
LOG_BYTES: Final = 10 * 1024**2
LOG_KEEP: Final = 2
CHECK_S: Final = 5.0


@dataclass
class Part:
    """A process to keep alive; one that is `once` is started a single time."""

    name: str
    command: Callable[[], list[str]]
    env: dict[str, str]
    pass_fds: tuple[int, ...] = ()
    once: bool = False
    not_before: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    born: float = 0.0
    since: float = 0.0
    deaths: int = 0
    restarts: int = -1
    finished: bool = False
    pid: int = 0
    started: str = ""


class Supervisor:
    """Runs the parts of one data folder until told to stop."""

    def __init__(self, data: Path, host: str, port: int, environment: dict[str, str]) -> None:
        self.data, self.host, self.port = data, host, port
        self._environment = environment
        self._parts: list[Part] = []
        self._wanted = True
        self._since = time.time()
        self._rotated = 0.0

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT. Returns the exit code: 3 when the folder is taken, 4 for the port."""
        lock = state.supervisor_lock(self.data)
        if not lock.take():
            log.error("another supervisor holds %s", self.data)
            return 3
        wake = self._listen_for_signals()
        self._end_leftovers()
        try:
            listening = _listen(self.host, self.port)
        except OSError as error:
            log.error("port %s: %s", self.port, error.strerror)
            return 4
        self._plan(listening.fileno())
        try:
            while self._wanted:
                self._step()
                select.select([wake], [], [], self._pause())
                _drain(wake)
        finally:
            self._stop()
        return 0

    # --- what there is to run -----------------------------------------------------------------------------

    def _plan(self, listening: int) -> None:
        manage = [sys.executable, str(environ.CHECKOUT / "manage.py")]
        # Few malloc arenas: many threads would each keep their own, and memory at rest doubles.
        env = {**self._environment, "MALLOC_ARENA_MAX": "2"}
        if not env.get("ANNEAL_REDIS_URL"):
            self._parts.append(Part("valkey", lambda: valkey.prepare(self.data), env))
        self._parts += [
            Part("web", lambda: [*manage, "web", "--fd", str(listening)], env, pass_fds=(listening,)),
            # One process for worker, scheduler and watcher: each is small, and Django in memory is not.
            Part("worker", lambda: [*manage, "worker", "--with-scheduler", "--with-watcher"], env),
        ]
        script = environ.CHECKOUT / "environments" / "setup_local_env.sh"
        if not env.get("ANNEAL_TRAINING_PYTHON") and script.is_file():
            plain = {name: value for name, value in self._environment.items() if not name.startswith("ANNEAL_")}
            self._parts.append(
                Part(
                    "training-setup",
                    lambda: ["bash", str(script), "training"],
                    plain,
                    once=True,
                    not_before=time.monotonic() + SETUP_DELAY_S,
                )
            )

    def _end_leftovers(self) -> None:
        """End what a supervisor that was killed left behind, if the kernel has not yet."""
        old = state.read(self.data)
        for name, child in (old.children if old else {}).items():
            if child.alive:
                log.warning("ending %s (%s) of an earlier supervisor", name, child.pid)
                end(child.pid, child.started, GRACE_S)

    # --- keeping it running -------------------------------------------------------------------------------

    def _step(self) -> None:
        changed = False
        for part in self._parts:
            changed |= self._look_after(part)
            if part.name == "valkey" and part.process is not None and part.restarts == 0 and changed:
                _wait_for(lambda: valkey.answers(valkey.socket_path(self.data)), 5.0)
        if changed:
            self._write_state()
        if time.monotonic() - self._rotated > CHECK_S:
            self._rotated = time.monotonic()
            for part in self._parts:
                rotate(self._log_file(part.name))

    def _look_after(self, part: Part) -> bool:
        """Start a part that should run and does not; note its death. True when something changed."""
        now = time.monotonic()
        if part.process is not None:
            code = part.process.poll()
            if code is None:
                if part.deaths and now - part.born > HEALTHY_S:
                    part.deaths = 0
                return False
            part.process = None
            part.finished = part.once
            if part.once:
                log.info("%s ended with %s", part.name, code)
                return True
            pause = BACKOFF_S[min(part.deaths, len(BACKOFF_S) - 1)]
            part.deaths += 1
            part.not_before = now + pause
            log.warning("%s ended with %s; starting it again in %s s", part.name, code, pause)
            if part.name == "valkey" and part.deaths == 4:
                self._set_aside_valkey()
            return True
        if part.finished or now < part.not_before:
            return False
        self._start(part)
        return True

    def _start(self, part: Part) -> None:
        part.born, part.since = time.monotonic(), time.time()
        try:
            with self._log_file(part.name).open("ab") as output:
                part.process = subprocess.Popen(
                    part.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=environ.CHECKOUT,
                    env={**part.env, "ANNEAL_PROCESS": part.name},
                    pass_fds=part.pass_fds,
                    start_new_session=True,
                    preexec_fn=die_with_parent,  # safe: there are no threads here
                )
        except (OSError, valkey.NoValkey, environ.WrongValue) as error:
            part.deaths += 1
            part.not_before = time.monotonic() + BACKOFF_S[min(part.deaths, len(BACKOFF_S) - 1)]
            log.error("%s cannot be started: %s", part.name, error)
            return
        part.restarts += 1
        part.pid, part.started = part.process.pid, start_time(part.process.pid)
        log.info("%s started (%s)", part.name, part.process.pid)

    def _set_aside_valkey(self) -> None:
        """A Valkey that cannot read its own files: they hold only nudges, so it may begin with none."""
        broken = self.data / f"valkey-broken-{int(time.time())}"
        try:
            (self.data / "valkey").rename(broken)
            log.error("Valkey does not start with its files; they are in %s now", broken)
        except OSError as error:
            log.error("Valkey does not start, and its files cannot be moved: %s", error)

    def _pause(self) -> float:
        """Seconds until there may be something to do; signals end the wait sooner."""
        now = time.monotonic()
        waits = [part.not_before - now for part in self._parts if part.process is None and not part.finished]
        return max(0.0, min([CHECK_S, *waits]))

    # --- ending -------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """First those who use Valkey, together, then Valkey."""
        log.info("stopping")
        for names in ({part.name for part in self._parts} - {"valkey"}, {"valkey"}):
            parts = [part for part in self._parts if part.name in names and part.process is not None]
            for number, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 5.0)):
                for part in parts:
                    _signal(part, number)
                _wait_for(partial(_all_ended, parts), patience)
        (self.data / "supervisor.json").unlink(missing_ok=True)

    def _listen_for_signals(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        for end_of_pair in (ours, theirs):
            end_of_pair.setblocking(False)
        self._wakeup = theirs  # kept open for the handler
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_soon)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return ours

    def _stop_soon(self, *_: object) -> None:
        self._wanted = False

    # --- files --------------------------------------------------------------------------------------------

    def _log_file(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"

    def _write_state(self) -> None:
        children = {
            part.name: state.Child(part.pid, part.started, part.since, part.restarts)
            for part in self._parts
            if part.pid and not part.finished
        }
        account = state.State(os.getpid(), start_time(os.getpid()), self.host, self.port, self._since, children)
        try:
            state.write(self.data, account)
        except OSError as error:  # a full disk: what runs goes on
            log.error("the state file cannot be written: %s", error)


def rotate(file: Path, limit: int = LOG_BYTES, keep: int = LOG_KEEP) -> None:
    """Copy a log that has grown over `limit` bytes to FILE.1 and empty it; its writer appends and goes on."""
    try:
        if file.stat().st_size <= limit:
            return
        for number in range(keep - 1, 0, -1):
            older = file.with_name(f"{file.name}.{number}")
            if older.exists():
                older.replace(file.with_name(f"{file.name}.{number + 1}"))
        shutil.copyfile(file, file.with_name(f"{file.name}.1"))
        os.truncate(file, 0)
    except OSError:
        pass  # no file yet, or a full disk, which rotating cannot mend


def _listen(host: str, port: int) -> socket.socket:
    """The listening socket, held here: while web starts again, connections wait instead of being refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(1024)
    return listening


def _signal(part: Part, number: int) -> None:
    """Signal one process; the set-up's whole group, as its installers are children of it."""
    process = part.process
    if process is None or process.poll() is not None:
        return
    try:
        if part.once:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    except (ProcessLookupError, PermissionError):
        pass


def _all_ended(parts: list[Part]) -> bool:
    return all(part.process is None or part.process.poll() is not None for part in parts)


def _wait_for(condition: Callable[[], bool], patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _drain(wake: socket.socket) -> None:
    try:
        while wake.recv(4096):
            pass
    except BlockingIOError:
        pass


def main() -> int:
    """Read the settings, as every process does, and supervise."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s supervisor %(message)s")
    env = environ.Environ(os.environ)
    try:
        data = environ.data_dir(env)
        port = env.read("ANNEAL_PORT", 8000, environ.port)
        host = env.read("ANNEAL_LISTEN", "127.0.0.1", environ.listen_address)
        environ.make_private(data)
        environ.make_private(data / "logs")
    except environ.WrongValue as error:
        log.error("%s", error)
        return 2
    environment = {**os.environ, "ANNEAL_DATA_DIR": str(data), "ANNEAL_PORT": str(port)}
    return Supervisor(data, host, port, environment).run()


if __name__ == "__main__":
    sys.exit(main())
