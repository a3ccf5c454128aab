"""The real web process in a thread, and runs whose trainer we are."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from django.conf import settings
from django.db import connection
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from environments.transports.local import LocalTransport
from monitoring.models import Stream
from monitoring.services.sync import open_segment, sync_stream
from pipelines.models import Attempt, Job, Recipe, RecipeRevision, Stage
from pipelines.states import StageEvent, StageStatus
from pipelines.transitions import move_stage
from platform_site.asgi import application
from platform_site.common import roles, tokens
from platform_site.common.models import User
from tests.pipelines import builders

WAIT_S = 10.0


def person(name: str, role: roles.Role | None = roles.Role.VIEWER) -> User:
    user = User.objects.create_user(name, password="wonderland")
    if role is not None:
        roles.grant(user, role)
    return user


class Run:
    """A running job with a real metrics file. `log` writes as a trainer does, `sync` reads as the platform does."""

    def __init__(self, folder: Path) -> None:
        project = builders.project()
        self.stage: Stage = builders.stage(StageStatus.RUNNING)
        self.id = self.stage.pk
        recipe, _ = Recipe.objects.get_or_create(
            slug="tiny-sft", defaults={"project": project, "name": "Tiny", "algorithm": "sft"}
        )
        revision, _ = RecipeRevision.objects.get_or_create(recipe=recipe, number=1, defaults={"base_model": "tiny"})
        Job.objects.create(
            id=self.id,
            stage=self.stage,
            stream=Stream.objects.create(id=self.id, project=project),
            project=project,
            name="a run",
            recipe_revision=revision,
            target_step=100,
        )
        self.path = folder / f"{self.id}_metrics.jsonl"
        open_segment(self.id, attempt=1, path=str(self.path))

    def log(self, step: int, **metrics: Any) -> None:
        with self.path.open("ab") as file:
            file.write(orjson.dumps({"v": 1, "step": step, "time": 1.5, "metrics": metrics}) + b"\n")

    def sync(self) -> None:
        sync_stream(self.id, LocalTransport())

    def log_and_sync(self, step: int, **metrics: Any) -> None:
        self.log(step, **metrics)
        self.sync()

    def complete(self) -> None:
        Attempt.objects.filter(stage=self.stage).update(outcome="succeeded")
        assert move_stage(self.id, StageEvent.COMPLETE, actor="test")

    @property
    def version(self) -> int:
        return Stream.objects.get(pk=self.id).version


class Server:
    """uvicorn with the settings of `manage.py web`."""

    def __init__(self) -> None:
        config = uvicorn.Config(
            application,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]}, daemon=True)

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + WAIT_S
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(WAIT_S)
        self._listening.close()

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Line:
    """One socket of a program or a page."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def next(self, timeout: float = WAIT_S) -> Any:
        text = self.connection.recv(timeout)
        assert isinstance(text, str)
        return orjson.loads(text) if text.startswith("{") else text

    def until(self, wanted: Callable[[Any], bool], timeout: float = WAIT_S) -> list[Any]:
        """Messages up to the wanted one."""
        seen: list[Any] = []
        deadline = time.monotonic() + timeout
        while not seen or not wanted(seen[-1]):
            seen.append(self.next(max(0.01, deadline - time.monotonic())))
        return seen

    def during(self, seconds: float) -> list[Any]:
        """Everything that comes in that time."""
        seen: list[Any] = []
        deadline = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while True:
                seen.append(self.next(max(0.001, deadline - time.monotonic())))
        return seen

    def close_code(self, timeout: float = WAIT_S) -> tuple[list[Any], int]:
        """What comes until the server closes, and its code."""
        seen: list[Any] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                seen.append(self.next(timeout))
        code = self.connection.close_code
        assert code is not None
        return seen, code


class Lines:
    """Opens sockets, closes them in the end."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._open = contextlib.ExitStack()
        self._keys: dict[str, str] = {}
        self._clients: dict[str, Client] = {}

    def program(self, path: str, user: User | None = None, **more: Any) -> Line:
        """With a token, or without one for None."""
        headers = {"Origin": self.server.origin}
        if user is not None:
            if user.username not in self._keys:
                self._keys[user.username] = tokens.issue(user, scope="operate", days=1)[1]
            headers = {"Authorization": f"Token {self._keys[user.username]}"}
        return self._line(path, headers, **more)

    def page(self, path: str, user: User, language: str = "en", **more: Any) -> Line:
        """With a session, as a browser."""
        client = Client()
        client.force_login(user)
        self._clients[user.username] = client
        cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
        headers = {"Origin": self.server.origin, "Cookie": cookie, "Accept-Language": language}
        return self._line(path, headers, **more)

    def log_out(self, user: User) -> None:
        """Ends the session that the user's last page came with."""
        self._clients[user.username].logout()

    def _line(self, path: str, headers: dict[str, str], **more: Any) -> Line:
        opening = connect(
            self.server.url(path),
            additional_headers=headers,
            compression=None,
            max_size=None,
            close_timeout=1,
            **more,
        )
        return Line(self._open.enter_context(opening))

    def close(self) -> None:
        self._open.close()


@pytest.fixture(scope="session")
def web() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def lines(web: Server, transactional_db: None) -> Iterator[Lines]:
    opened = Lines(web)
    yield opened
    opened.close()


@pytest.fixture
def run(tmp_path: Path, transactional_db: None) -> Run:
    return Run(tmp_path)


@pytest.fixture
def alice(transactional_db: None) -> User:
    return person("alice")


def open_databases() -> int:
    """How many connections to the database this process holds: to the SQLite file, or out of PostgreSQL's pool."""
    if connection.vendor == "postgresql":
        stats = connection.pool.get_stats()
        return int(stats["pool_size"] - stats["pool_available"])
    name = str(settings.DATABASES["default"]["NAME"])
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{descriptor}") == name
    return found
