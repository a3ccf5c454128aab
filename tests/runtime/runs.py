"""Run folders with real runners in them, as the platform makes them."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from platform_runtime.contract import ENV_LAUNCH_TOKEN, Command, ExitInfo, ProcessInfo, RunFolder
from platform_runtime.files import load

RUNNER = Path(__file__).resolve().parents[2] / "environments/runtime/platform_runtime/runner.py"
T = TypeVar("T")


def until(found: Callable[[], T | None], timeout_s: float = 15) -> T:
    """What `found` answers once it answers something true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout_s} s")


class Run:
    """One attempt: its folder, its command, and what came of it."""

    def __init__(self, root: Path, argv: Sequence[str], **changes: Any) -> None:
        name = str(uuid.uuid4())
        folder = root / "runs" / name / "attempt-1"
        folder.mkdir(parents=True)
        self.folder = RunFolder(str(folder), name)
        self.token = f"token-{uuid.uuid4().hex}"
        settings: dict[str, Any] = {
            "argv": list(argv),
            "env": {"PATH": "/usr/bin:/bin", ENV_LAUNCH_TOKEN: self.token},
            "cwd": str(folder),
            "launch_token": self.token,
            "uuid": name,
            "target_step": None,
            "checkpoint_required": False,
            "checkpoint_folder": self.folder.checkpoints,
            "stop_grace_s": 1.0,
            **changes,
        }
        self.command = Command(**settings)
        Path(self.folder.command).write_bytes(self.command.to_bytes())

    @classmethod
    def of_python(cls, root: Path, code: str, **changes: Any) -> "Run":
        return cls(root, [sys.executable, "-I", "-u", "-c", code], **changes)

    def spawn(self, runner: Path = RUNNER, **options: Any) -> "subprocess.Popen[bytes]":
        # -S: what is installed in the tests' environment must not help.
        argv = [sys.executable, "-S", "-P", str(runner), self.folder.path]
        return subprocess.Popen(argv, env={"PATH": "/usr/bin:/bin"}, stderr=subprocess.PIPE, **options)

    def start(self, **options: Any) -> tuple[int, str]:
        """Exit code and complaint of the call that starts the runner."""
        process = self.spawn(**options)
        _, said = process.communicate(timeout=20)
        return process.returncode, said.decode()

    def started(self) -> ProcessInfo:
        return until(lambda: load(ProcessInfo, self.folder.process))

    def ended(self, timeout_s: float = 15) -> ExitInfo:
        return until(lambda: load(ExitInfo, self.folder.exit), timeout_s)

    @property
    def log(self) -> str:
        try:
            return Path(self.folder.output_log).read_text()
        except FileNotFoundError:
            return ""

    def says(self, text: str) -> None:
        until(lambda: text in self.log)

    def files(self) -> set[str]:
        return set(os.listdir(self.folder.path))

    def claim(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path(self.folder.claim).read_text())
        return found
