"""A whole platform in the data folder of this process, and runs whose trainer we are."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import psutil
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from environments import launchers
from environments.launchers import Launch
from environments.models import Host
from environments.services.runtime_copy import ensure_runtime
from environments.transports import for_host
from monitoring.models import Stream
from monitoring.services.sync import open_segment
from pipelines.folders import attempt_path, run_folder
from pipelines.models import Attempt, Job, Pipeline, Recipe, Stage
from pipelines.states import PipelineStatus, StageStatus
from platform_runtime.contract import Command
from platform_site import valkey
from platform_site.common import tokens
from platform_site.common.models import User

START_S: Final = 60.0
MARK: Final = "bench-only"
"""A file of this name says that the data folder may be filled with made-up runs."""


class NotThrowAway(Exception):
    """The data folder is somebody's."""


def prepare() -> None:
    """Make the database. Raises NotThrowAway outside of a folder made for benches."""
    if not (Path(settings.DATA_DIR) / MARK).exists():
        raise NotThrowAway(f"{settings.DATA_DIR} was not made for a bench")
    with open(os.devnull, "w") as nowhere:
        call_command("prepare", stdout=nowhere)


@contextmanager
def redis_server() -> Iterator[None]:
    if not settings.REDIS_IS_EMBEDDED:
        yield
        return
    server = valkey.Server(Path(settings.DATA_DIR))
    server.start()
    try:
        yield
    finally:
        server.stop()


class Platform:
    """Web and worker processes as `bin/up` runs them."""

    def __init__(self, *, with_worker: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._with_worker = with_worker
        self._processes: list[subprocess.Popen[bytes]] = []
        _, self.key = tokens.issue(User.objects.get(username="admin"), scope="operate", days=1, name="bench")

    @property
    def web_pid(self) -> int:
        return self._processes[0].pid

    def __enter__(self) -> "Platform":
        commands = [["web", "--port", str(self.port)]]
        if self._with_worker:
            commands.append(["worker", "--with-scheduler", "--with-watcher"])
        try:
            for command in commands:
                self._start(command)
            self._wait("/readyz" if self._with_worker else "/healthz")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for started in self._processes:
            started.send_signal(signal.SIGTERM)
        for started in self._processes:
            try:
                started.wait(15)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()

    def socket_url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.key}"}

    def _start(self, command: Sequence[str]) -> None:
        log = Path(settings.DATA_DIR) / f"{command[0]}.log"
        with log.open("ab") as output:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, str(settings.BASE_DIR / "manage.py"), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )

    def _wait(self, path: str) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2):
                    return
            except (OSError, urllib.error.HTTPError):
                if time.monotonic() > deadline or any(started.poll() is not None for started in self._processes):
                    raise
                time.sleep(0.1)

    def cpu_s(self) -> dict[str, float]:
        """Seconds of processor time that web and worker have used so far."""
        names = ("web", "worker")
        times = [psutil.Process(started.pid).cpu_times() for started in self._processes]
        return {name: used.user + used.system for name, used in zip(names, times, strict=False)}

    def open_databases(self) -> int:
        """How many connections the web process holds."""
        if connection.vendor == "sqlite":
            name = str(settings.DATABASES["default"]["NAME"])
            folder = Path(f"/proc/{self.web_pid}/fd")
            return sum(os.path.realpath(link) == name for link in folder.iterdir())
        with connection.cursor() as cursor:
            cursor.execute(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'"
            )
            return int(cursor.fetchone()[0])


class Run:
    """A run under way: rows, folder and, where asked for, a real runner with a process that only waits."""

    def __init__(self, *, with_runner: bool, host: Host | None = None) -> None:
        self.host = host or Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk")[0]
        self.transport = for_host(self.host)
        now = timezone.now()
        revision = Recipe.objects.order_by("pk")[0].revisions.order_by("-number")[0]
        project = revision.recipe.project
        pipeline = Pipeline.objects.create(project=project, name="bench", status=PipelineStatus.RUNNING, started_at=now)
        self.id: UUID = uuid4()
        stage = Stage.objects.create(
            id=self.id,
            pipeline=pipeline,
            name="train",
            kind="train_model",
            queue="training",
            host=self.host,
            # The observer calls it running once it sees the runner; a running stage without one would be lost.
            status=StageStatus.STARTING if with_runner else StageStatus.RUNNING,
            changed_at=now,
        )
        self.attempt = Attempt.objects.create(
            stage=stage,
            number=1,
            host=self.host,
            folder=attempt_path(self.host.root, self.id, 1),
            launch_token=secrets.token_hex(16),
            sent_at=now,
        )
        Job.objects.create(
            id=self.id,
            stage=stage,
            stream=Stream.objects.create(id=self.id, project=project, algorithm=revision.recipe.algorithm),
            project=project,
            name="bench",
            recipe_revision=revision,
            target_step=1_000_000,
        )
        self.folder = run_folder(self.attempt)
        self.path = Path(self.folder.metrics)
        self.path.parent.mkdir(parents=True, mode=0o700)
        open_segment(self.id, attempt=1, path=self.folder.metrics)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._with_runner = with_runner
        if with_runner:
            self._launch()

    def _launch(self) -> None:
        token = self.attempt.launch_token
        command = Command(
            argv=["sleep", "3600"],
            env={"PATH": "/usr/bin:/bin", "ANNEAL_LAUNCH_TOKEN": token},
            cwd=self.folder.path,
            launch_token=token,
            uuid=str(self.id),
            target_step=None,
            checkpoint_required=False,
            checkpoint_folder=self.folder.checkpoints,
            stop_grace_s=1.0,
        )
        launch = Launch(self.folder, command, sys.executable, ensure_runtime(self.host, self.transport))
        launchers.start(self.host, launch, self.transport)

    def write(self, data: bytes) -> None:
        """One unbuffered write, as the callback does it."""
        os.write(self._file, data)

    def end(self) -> None:
        os.close(self._file)
        if self._with_runner:
            self.transport.kill(self.folder.path)


def line(step: int, **extra: Any) -> bytes:
    """A step of 25 metrics, about 928 bytes, as in performance.md."""
    metrics = {f"actor/metric_{i:02}": 0.123456789 * (step + i) for i in range(25 - len(extra))}
    return orjson.dumps(
        {"v": 1, "step": step, "time": time.time(), "metrics": {**metrics, **extra}}, option=orjson.OPT_APPEND_NEWLINE
    )
