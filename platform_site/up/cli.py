"""`bin/up [options]`, `bin/up stop`, `bin/up status`."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from platform_site import environ

from . import setup, state, training
from .errors import UpError, WrongSetting
from .processes import end
from .terminal import Terminal

READY_S: Final = 60.0
STOP_S: Final = 40.0
NOT_RUNNING: Final = 3


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage or setting, 3 (status) not running, 4 not ready."""
    terminal = Terminal()
    options = _parse(argv)
    data: Path | None = None
    try:
        if options.data:
            os.environ["ANNEAL_DATA_DIR"] = options.data
        if options.port:
            os.environ["ANNEAL_PORT"] = options.port
        settings = environ.Environ(os.environ)
        data = environ.data_dir(settings)
        os.environ["ANNEAL_DATA_DIR"] = str(data)  # absolute from here on
        port = settings.read("ANNEAL_PORT", 8000, environ.port)
        host = settings.read("ANNEAL_LISTEN", "127.0.0.1", environ.listen_address)
        if options.command == "stop":
            return stop(terminal, data)
        if options.command == "status":
            return status(terminal, data)
        return up(terminal, data, host, port, options)
    except (environ.WrongValue, WrongSetting) as error:
        terminal.warn(str(error))
        return 2
    except UpError as error:
        terminal.warn(str(error))
        return 1
    except KeyboardInterrupt:
        runs = data is not None and state.is_running(data)
        terminal.warn("interrupted; the platform goes on, bin/up stop ends it" if runs else "interrupted")
        return 130


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/up", description="Sets up and runs Anneal. Safe to repeat.")
    parser.add_argument("command", nargs="?", choices=["start", "stop", "status"], default="start")
    parser.add_argument("--port", metavar="N", help="port of the pages (8000)")
    parser.add_argument("--data", metavar="DIR", help="folder that holds all state (./var)")
    parser.add_argument("--no-demo", action="store_true", help="do not run the demo on first start")
    parser.add_argument(
        "--detach",
        action="store_true",
        help="return when all is set up and the demo of a first start has ended, and leave it running",
    )
    return parser.parse_args(argv)


# --- up ---------------------------------------------------------------------------------------------------


def up(terminal: Terminal, data: Path, host: str, port: int, options: argparse.Namespace) -> int:
    """Set up, start, run the demo on first start; stay until Ctrl-C unless detached."""
    environ.make_private(data)
    if state.is_running(data):
        _join_running(terminal, data, port, asked=bool(options.port))
    else:
        _refuse_taken_port(host, port)
        setup.prepare(terminal)
        setup.manage("prepare", what="the database could not be prepared", show=True)
        _start_supervisor(terminal, data, host, port)
    account = _wait_until_ready(terminal, data)
    terminal.say(f"Anneal runs at {account.url}")
    password = data / "admin_password"
    if password.exists():
        terminal.say(f"Sign in as admin; the password is in {password}")
    ready = training.follow(terminal, lambda: _child_lives(data, "training-setup"))
    done = True
    if ready and not options.no_demo:
        done = _demo(terminal, data)
    if options.detach:
        terminal.say("Stop it with bin/up stop" + (f" --data '{data}'" if options.data else ""))
        return 0 if ready and done else 1
    return _stay(terminal, data)


def _join_running(terminal: Terminal, data: Path, port: int, *, asked: bool) -> None:
    account = state.read(data)
    if account and asked and account.port != port:
        raise UpError(
            f"the platform on {data} runs already, on port {account.port}; stop it first (bin/up stop), "
            "or give another data folder"
        )
    terminal.say(f"Already running on {data}")


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UpError(
                f"port {port} on {host} cannot be used ({error.strerror}); give another one: bin/up --port N"
            ) from None


def _start_supervisor(terminal: Terminal, data: Path, host: str, port: int) -> None:
    environ.make_private(data / "logs")
    with (data / "logs" / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [setup.PYTHON, "-m", "platform_site.supervisor"],
            cwd=environ.CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + READY_S
    while not state.is_running(data) or (account := state.read(data)) is None or account.pid != process.pid:
        if (code := process.poll()) is not None:
            if code == NOT_RUNNING and state.is_running(data):
                return  # another bin/up was faster: theirs is as good as ours
            raise UpError(f"the supervisor ended at once:\n{_tail(data, 'supervisor')}")
        if time.monotonic() > until:
            raise UpError(f"the supervisor does not start; see {data / 'logs' / 'supervisor.log'}")
        time.sleep(0.02)


def _wait_until_ready(terminal: Terminal, data: Path) -> state.State:
    until = time.monotonic() + READY_S
    answer: dict[str, Any] = {}
    while time.monotonic() < until:
        account = state.read(data)
        if account is not None:
            answer = readiness(account)
            if answer.get("status") == "ok":
                return account
            if any(child.restarts >= 3 for child in account.children.values()):
                break
        if not state.is_running(data):
            raise UpError(f"the supervisor ended:\n{_tail(data, 'supervisor')}")
        time.sleep(0.1)
    account = state.read(data)
    dying = [name for name, child in (account.children if account else {}).items() if child.restarts]
    missing = [name for name, value in answer.items() if name != "status" and value != "ok"]
    raise UpError(
        f"the platform does not get ready ({', '.join(missing or dying) or 'no answer'}); the logs are in "
        f"{data / 'logs'}\n" + "\n".join(_tail(data, name) for name in dying or ["web"])
    )


def readiness(account: state.State) -> dict[str, Any]:
    """What /readyz answers; empty when nobody does."""
    try:
        with build_opener(ProxyHandler({})).open(account.url + "readyz", timeout=5) as response:
            return dict(json.load(response))
    except HTTPError as error:
        try:
            return dict(json.load(error))
        except ValueError:
            return {}
    except (URLError, OSError, ValueError):
        return {}


def _demo(terminal: Terminal, data: Path) -> bool:
    """Run the demo unless it once completed on this data folder. False when it failed."""
    mark = data / "demo-completed"
    if mark.exists():
        return True
    try:
        setup.manage("demo", "--once", what="the demo did not complete", show=True)
    except UpError as error:
        terminal.warn(str(error))
        return False
    mark.touch()
    return True


def _stay(terminal: Terminal, data: Path) -> int:
    """Wait until the platform ends or this process is told to, and then stop the platform."""

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
    terminal.say("Press Ctrl-C to stop the platform; a training that runs goes on")
    try:
        while state.is_running(data):
            time.sleep(1)
    except KeyboardInterrupt:
        return stop(terminal, data)
    terminal.say("The platform was stopped")
    return 0


# --- stop and status ----------------------------------------------------------------------------------------


def stop(terminal: Terminal, data: Path) -> int:
    """Stop the platform on this data folder; training runs go on. Stopping what does not run is no error."""
    account = state.read(data)
    if not state.is_running(data):
        left = [child for child in (account.children if account else {}).values() if child.alive]
        for child in left:
            end(child.pid, child.started, 5)
        (data / "supervisor.json").unlink(missing_ok=True)
        terminal.say("Stopped what was left of it" if left else "Not running")
        return 0
    if account is None:
        raise UpError(f"a supervisor holds {data}, and its state file cannot be read")
    end(account.pid, account.started, STOP_S)
    for child in account.children.values():
        end(child.pid, child.started, 5)
    if state.is_running(data):
        raise UpError(f"the platform on {data} does not stop")
    (data / "supervisor.json").unlink(missing_ok=True)
    terminal.say("Stopped")
    return 0


def status(terminal: Terminal, data: Path) -> int:
    """Say what runs: exit code 0 ready, 3 not running, 4 running and not ready."""
    account = state.read(data)
    if account is None or not state.is_running(data):
        terminal.say(f"Not running on {data}")
        return NOT_RUNNING
    answer = readiness(account)
    ready = answer.get("status") == "ok"
    terminal.say(f"Anneal runs at {account.url} on {data}")
    for name, child in account.children.items():
        life = f"up {int(time.time() - child.since)} s" if child.alive else "down"
        again = f", started again {child.restarts} times" if child.restarts else ""
        terminal.say(f"  {name:<15} {child.pid:>7}  {life}{again}")
    missing = [name for name, value in answer.items() if name != "status" and value != "ok"]
    terminal.say("Ready" if ready else f"Not ready: {', '.join(missing) or 'no answer'}")
    return 0 if ready else 4


def _child_lives(data: Path, name: str) -> bool:
    account = state.read(data)
    child = account.children.get(name) if account else None
    return child is not None and child.alive


def _tail(data: Path, name: str, lines: int = 12) -> str:
    try:
        text = (data / "logs" / f"{name}.log").read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
