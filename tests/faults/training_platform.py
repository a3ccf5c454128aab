"""A whole platform that trains: runs by API, and what they left on the disk to compare with."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from platform_site.environ import CHECKOUT
from tests.harness import Platform

PYTHON = os.environ.get("ANNEAL_TRAINING_PYTHON") or str(CHECKOUT / ".training/venv/bin/python")


class TrainingPlatform(Platform):
    """`api` speaks with an administrator's token. Errors are assertions that show the answer."""

    def __init__(self, data: Path, *, training_python: str = PYTHON, **env: str) -> None:
        super().__init__(data, training_python=training_python, **env)
        self._token = ""

    def token(self) -> str:
        if not self._token:
            done = self.manage("create_api_token", "admin", "--scope", "admin", "--days", "1")
            assert done.returncode == 0, done.stderr
            self._token = done.stdout.strip()
        return self._token

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return self.request(method, f"/api/v1/{path}", body, {"Authorization": f"Token {self.token()}", **headers})

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        status, answer = self.call(method, path, body, **headers)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def start(self, recipe: str = "tiny-sft", **overrides: Any) -> str:
        """The uuid of a new run."""
        return str(self.api("POST", "jobs/", {"recipe": recipe, "overrides": overrides})["uuid"])

    def job(self, uuid: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api("GET", f"jobs/{uuid}/")
        return found

    def wait(self, met: Callable[[], Any], timeout_s: float, what: str) -> Any:
        """Poll until something holds. A platform that is down or starting counts as not yet."""
        end = time.monotonic() + timeout_s
        last: Any = None
        while time.monotonic() < end:
            try:
                if found := met():
                    return found
            except AssertionError as error:
                last = error
            time.sleep(0.1)
        raise AssertionError(f"not within {timeout_s} s: {what} ({last})\n{self.log('worker')[-4000:]}")

    def until(self, uuid: str, *statuses: str, timeout_s: float = 180) -> dict[str, Any]:
        wanted = statuses or ("completed", "failed", "cancelled")

        def reached() -> dict[str, Any] | None:
            job = self.job(uuid)
            return job if job["status"] in wanted else None

        found: dict[str, Any] = self.wait(reached, timeout_s, f"run {uuid} is one of {wanted}")
        return found

    def until_step(self, uuid: str, step: int) -> None:
        self.wait(lambda: (self.job(uuid)["last_step"] or 0) >= step, 120, f"step {step}")

    def runs(self, uuid: str) -> list[psutil.Process]:
        """Living trainer processes of a run: those that carry its launch token, without its runner."""
        commands = (self.data / "runs" / uuid).glob("attempt-*/command.json")
        tokens = {json.loads(command.read_text())["launch_token"] for command in commands}
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("ANNEAL_LAUNCH_TOKEN") in tokens:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def written(self, uuid: str, attempt: int = 1) -> dict[int, dict[str, Any]]:
        """What the trainer wrote: step -> metrics, the lines of one step merged."""
        path = self.data / "runs" / uuid / f"attempt-{attempt}" / "metrics" / f"{uuid}_metrics.jsonl"
        merged: dict[int, dict[str, Any]] = {}
        for line in path.read_text().splitlines():
            told = json.loads(line)
            merged.setdefault(told["step"], {}).update(told["metrics"])
        return merged

    def stored(self, uuid: str) -> dict[int, dict[str, Any]]:
        """What the platform has of it; a step that stands twice is an error."""
        rows = self.api("GET", f"monitoring/{uuid}/metrics/rows/?limit=500")["results"]
        steps = [row["step"] for row in rows]
        assert len(steps) == len(set(steps)), steps
        return {row["step"]: row["metrics"] for row in rows}

    def assert_sound(self, uuid: str, status: str = "completed") -> None:
        """The invariants after every fault."""
        job = self.job(uuid)
        assert job["status"] == status, job["error_message"]
        assert job["duration_s"] > 0
        assert self.runs(uuid) == []
        assert self.stored(uuid) == self.written(uuid, job["attempts"][-1]["number"])
        moves = self.api("GET", f"pipelines/{job['pipeline']}/transitions/?limit=500")["results"]
        before = "pending"
        for move in (move for move in moves if move["stage"]):
            assert move["from_status"] == before, moves
            before = move["to_status"]
        assert before == status
