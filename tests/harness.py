"""A whole platform for tests: started by `bin/up` on a data folder and port of its own, and surely ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from platform_site.environ import CHECKOUT
from platform_site.up import state


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> Any:
    """The first true answer of `condition`; an AssertionError when there is none in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what or condition}")


class Platform:
    """One data folder. `training_python` keeps `bin/up` from setting up a training environment ("" to let it)."""

    def __init__(
        self, data: Path, *, port: int | None = None, training_python: str = sys.executable, **env: str
    ) -> None:
        self.data, self.port = data, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANNEAL_", "DJANGO_"))}
        if training_python:
            kept["ANNEAL_TRAINING_PYTHON"] = training_python
        self.env = {**kept, **env, "ANNEAL_DATA_DIR": str(data), "ANNEAL_PORT": str(self.port)}

    def __enter__(self) -> "Platform":
        done = self.up()
        assert done.returncode == 0, done.stdout + done.stderr
        return self

    def __exit__(self, *_: object) -> None:
        if state.is_running(self.data):
            self.run("stop")
        self.kill_everything()

    def run(self, *arguments: str, timeout: float = 120, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """bin/up with these arguments."""
        return subprocess.run(
            [CHECKOUT / "bin" / "up", *arguments],
            env=self.env, capture_output=True, text=True, timeout=timeout, cwd=cwd or self.data.parent, check=False,
        )  # fmt: skip

    def up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("--detach", "--no-demo", *arguments)

    def manage(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A management command on this platform's data."""
        return subprocess.run(
            [sys.executable, CHECKOUT / "manage.py", *arguments],
            env=self.env, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    @property
    def state(self) -> state.State:
        account = state.read(self.data)
        assert account is not None, f"no supervisor on {self.data}"
        return account

    @property
    def password(self) -> str:
        return (self.data / "admin_password").read_text().strip()

    def log(self, name: str) -> str:
        return (self.data / "logs" / f"{name}.log").read_text(errors="replace")

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded JSON (or text); status 0 when nobody answers."""
        request = Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=20) as response:
                status, text = response.status, response.read()
        except HTTPError as error:
            status, text = error.code, error.read()
        except (URLError, OSError):
            return 0, None
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")

    def ready(self) -> bool:
        return self.request("GET", "/readyz")[0] == 200

    def kill_everything(self) -> None:
        """kill -9 of every platform process at once, the supervisor first, as a machine that runs out of memory."""
        account = state.read(self.data)
        if account is None:
            return
        pids = [account.pid, *(child.pid for child in account.children.values() if child.alive)]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
