"""What lets the platform into its hosts is seen by nobody: looked for everywhere at once, while real hosts are added,
checked, and run something."""

import asyncio
import base64
import logging
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings
from django.test import Client

from environments.models import Host
from environments.transports import connection, for_host
from pipelines.models import Stage
from pipelines.services import setup_host
from pipelines.services.logs import read_log
from platform_site import valkey
from tests import people
from tests.pipelines import builders
from tests.pipelines.conftest import Hands

from . import sshd
from .hosts import PYTHON

pytestmark = pytest.mark.timeout(200)

PASSPHRASE = "planted-passphrase-5127"
WRONG_PASSWORD = "planted-password-8471"
TOKEN = "planted-token-4711-of-a-cluster"
MOST_PAGES = 150
LINK = re.compile(r'(?:href|hx-get|src)="(/[^"#]*)"')


@dataclass
class Secrets:
    """Each as it is, and as base64 would carry it; of a key, its lines."""

    named: dict[str, str]

    def __post_init__(self) -> None:
        self._forms: list[tuple[str, bytes]] = []
        for name, text in self.named.items():
            lines = [line for line in text.splitlines() if not line.startswith("--")]
            # The first line of a key says what it is, and is the same in all of them.
            for line in lines[1:] if len(lines) > 1 else lines:
                self._forms.append((name, line.encode()))
                self._forms.append((f"{name} in base64", base64.b64encode(line.encode()).rstrip(b"=")[:-1]))

    def within(self, content: bytes) -> set[str]:
        return {name for name, form in self._forms if form in content}


@dataclass
class Sightings:
    """Where each secret was seen, and what was looked at, so that looking at nothing is no success."""

    secrets: Secrets
    found: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def look(self, where: str, content: bytes, marks: Iterable[str] = ()) -> None:
        self.found |= {f"{name} in {where}" for name in self.secrets.within(content)}
        self.seen |= {f"{mark} in {where}" for mark in marks if mark.encode() in content}


@contextmanager
def watched_processes(sightings: Sightings, marks: Iterable[str]) -> Iterator[None]:
    """Arguments and environment of every process of the machine, again and again."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for part in ("cmdline", "environ"):
                    try:
                        sightings.look(part, Path("/proc", pid, part).read_bytes(), marks)
                    except OSError:
                        continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def watched_redis(path: Path) -> Iterator[bytearray]:
    """Every command that Redis is given, with its arguments: what was ever in a key, and what was only announced."""
    said = bytearray()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        line.sendall(b"MONITOR\r\n")

        def listen() -> None:
            while piece := line.recv(1 << 16):
                said.extend(piece)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield said
        finally:
            line.shutdown(socket.SHUT_RDWR)
            thread.join()


class Head(BaseHTTPRequestHandler):
    """A Jobs API that takes no token, and remembers which it was shown."""

    shown: set[str] = set()

    def do_GET(self) -> None:
        self.shown.add(self.headers.get("Authorization", ""))
        self.send_error(403)

    def log_message(self, format: str, *args: Any) -> None:
        """To nobody."""


@pytest.fixture
def head() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Head) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def with_passphrase(private_key: str, folder: Path) -> str:
    key = folder / "key"
    key.write_text(private_key)
    key.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", str(key)], check=True)
    return key.read_text()


async def whole(answer: Any) -> bytes:
    return b"".join([piece async for piece in answer])


def read_whole(answer: Any) -> bytes:
    """Also in a process whose browser tests have left a loop running in this thread."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return async_to_sync(whole)(answer)
    finally:
        asyncio._set_running_loop(running)


def look_at_pages(client: Client, sightings: Sightings, first: list[str], marks: list[str]) -> set[str]:
    """All that an administrator reaches by links, those named first; which these were."""
    waiting, seen = list(first), set[str]()
    while waiting and len(seen) < MOST_PAGES:
        path = waiting.pop(0)
        if path in seen or "logout" in path:
            continue
        seen.add(path)
        answer = client.get(path)
        content = read_whole(answer) if answer.streaming else answer.content
        sightings.look("pages", content + repr(answer.headers).encode(), marks)
        if "html" in answer.headers.get("content-type", ""):
            waiting += [link for link in LINK.findall(content.decode()) if not link.startswith(("/static/", "/ws/"))]
    return seen


def look_at_rows(sightings: Sightings, marks: list[str]) -> None:
    """Of all tables, those of the audit log among them."""
    for model in apps.get_models():
        for row in model._default_manager.values():
            sightings.look("rows", repr(row).encode(), marks)


def look_at_files(sightings: Sightings, where: str, root: Path, marks: list[str]) -> None:
    for folder, _names, files in os.walk(root):
        for name in files:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                # By another process: a file that is closed takes all this process's locks on it along, and without
                # its locks SQLite and the web process would write over each other.
                content = subprocess.run(["cat", path], check=True, capture_output=True).stdout
                sightings.look(where, content, marks)


@pytest.mark.django_db(transaction=True)
def test_a_hosts_secrets_are_nowhere_while_it_is_added_checked_set_up_and_runs_something(
    tmp_path: Path,
    server: sshd.Sshd,
    account: sshd.Account,
    head: str,
    valkey_server: valkey.Server,
    caplog: pytest.LogCaptureFixture,
    client: Client,
) -> None:
    caplog.set_level(logging.DEBUG)
    builders.queues(slots=4)
    builders.project()
    by_key = server.account()
    key = with_passphrase(by_key.private_key, tmp_path)
    sightings = Sightings(
        Secrets(
            {
                "password": account.password,
                "wrong password": WRONG_PASSWORD,
                "private key": key,
                "private key in the clear": by_key.private_key,
                "passphrase": PASSPHRASE,
                "token": TOKEN,
            }
        )
    )
    place = {"address": "127.0.0.1", "port": server.port, "root": str(account.home / "anneal")}
    hosts: dict[str, dict[str, Any]] = {
        "by-password": {**place, "user": account.name, "password": account.password},
        "by-key": {**place, "user": by_key.name, "private_key": key, "passphrase": PASSPHRASE, "root": ""},
        "refused": {**place, "user": account.name, "password": WRONG_PASSWORD, "root": str(account.home / "other")},
        "cluster": {"kind": "ray", "address": head, "token": TOKEN, "root": str(tmp_path), "python": PYTHON},
    }
    client.force_login(people.charlie())
    told: list[tuple[int, Any]] = []

    def call(path: str, body: Any = None, method: str = "post") -> Any:
        asked = getattr(client, method)(f"/api/v1/{path}", body or {}, content_type="application/json")
        told.append((asked.status_code, asked.json()))
        return asked

    with (
        watched_redis(valkey_server.socket) as said,
        watched_processes(sightings, ["platform_runtime/runner.py", "setup_env.py", "ANNEAL_LAUNCH_TOKEN"]),
    ):
        for name, given in hosts.items():
            assert call("hosts/", {"name": name, **given}).status_code == 201, told[-1]
            if name != "cluster":
                shown = call(f"hosts/{name}/enroll/").json()
                call(f"hosts/{name}/enroll/", {"fingerprint": shown["fingerprint"]})
        checked = {name: call(f"hosts/{name}/check/").status_code for name in hosts}
        assert checked == {"by-password": 200, "by-key": 200, "refused": 503, "cluster": 202}
        for wrong in ({"private_key": WRONG_PASSWORD}, {"password": WRONG_PASSWORD, "slots": 0}):
            assert call("hosts/refused/", wrong, "patch").status_code in (400, 422)
        setup_host.look(Host.objects.get(name="cluster").pk)
        assert f"Bearer {TOKEN}" in Head.shown

        for name in ("by-password", "by-key"):
            hands = Hands(Host.objects.get(name=name))
            stage = hands.script("print('it ran'); import time; time.sleep(1)", host=hands.host)
            hands.launch(stage)
            assert hands.until(stage) == "completed"
            call(f"pipelines/{stage.pipeline_id}/", method="get")
            call(f"pipelines/{stage.pipeline_id}/stages/{stage.name}/log/", method="get")
        made = call("hosts/by-password/setup/", {"packages": "cpu"}).json()
        setup, hands = Stage.objects.get(pipeline=made["uuid"]), Hands(Host.objects.get(name="by-password"))
        attempt = hands.launch(setup)
        hands.wait(lambda: "Making a virtual environment" in read_log(setup).text, timeout_s=60)
        for_host(hands.host).kill(attempt.folder)
        sightings.look("api", repr(told).encode(), [*hosts, "it ran"])

        changes = [
            f"/admin/environments/host/{host.pk}/{page}/"
            for host in Host.objects.all()
            for page in ("change", "history")
        ]
        pages = [f"/hosts/{name}/{page}" for name in hosts for page in ("", "edit/")]
        api = [f"/api/v1/{path}" for path in ("hosts/", "audit/", "system/env/", *(f"hosts/{name}/" for name in hosts))]
        first = [*pages, *changes, *api, "/admin/environments/host/", "/admin/common/auditevent/", "/"]
        seen = look_at_pages(client, sightings, first, [*hosts, "host.enrol", "it ran"])
        assert len(seen) > len(first), "and those that they lead to"
        time.sleep(0.2)
    sightings.look("redis", bytes(said), ["PUBLISH", "anneal-live"])
    sightings.look("log", caplog.text.encode(), ["does not let"])
    look_at_rows(sightings, [*hosts, "host.enrol"])
    look_at_files(sightings, "files of the platform", Path(settings.DATA_DIR), [])
    for home in (account.home, by_key.home):
        look_at_files(sightings, "files of the host", home, ["platform_runtime", "it ran"])
    for host in Host.objects.all():
        connection.forget(host.pk)

    assert sightings.found == set()
    assert sightings.seen == {
        *(f"{name} in {where}" for name in hosts for where in ("api", "pages", "rows")),
        *(f"it ran in {where}" for where in ("api", "pages", "files of the host")),
        "host.enrol in pages",
        "host.enrol in rows",
        "platform_runtime/runner.py in cmdline",
        "setup_env.py in cmdline",
        "ANNEAL_LAUNCH_TOKEN in environ",
        "PUBLISH in redis",
        "anneal-live in redis",
        "does not let in log",
        "platform_runtime in files of the host",
    }


def test_a_secret_would_have_been_found(tmp_path: Path) -> None:
    """In each of its forms, and in a process."""
    key = "-----BEGIN X-----\nAAAA the same in all\nline-two-of-a-key\nline-three\n-----END X-----\n"
    sightings = Sightings(Secrets({"password": "planted-password", "key": key}))
    for text in ("x planted-password y", base64.b64encode(b"planted-password").decode(), '"line-two-of-a-key\\n"'):
        assert sightings.secrets.within(text.encode()), text
    assert not sightings.secrets.within(b"AAAA the same in all")
    with (
        watched_processes(sightings, []),
        subprocess.Popen(["sleep", "30"], env={"PLANTED": "planted-password"}) as child,
    ):
        try:
            until = time.monotonic() + 10
            while not sightings.found and time.monotonic() < until:
                time.sleep(0.02)
        finally:
            child.kill()
    assert sightings.found == {"password in environ"}
