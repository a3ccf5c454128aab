"""However many hosts keep silent, a worker goes on looking at those that answer, and no queue grows."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from environments.models import Host
from environments.services.hosts import begin_check
from environments.transports import for_host
from environments.transports.secrets import Secret
from pipelines.models import Attempt, Stage
from pipelines.states import StageStatus
from platform_site.common.messages import connect
from platform_site.common.queues import AWAY_HOSTS, CONTROL, HOST_CHECKS, IDLE_HOSTS, REMOTE
from tests.harness import wait_until
from tests.pipelines import builders
from tests.pipelines.conftest import Hands

from . import sshd
from .hosts import MakeHost

pytestmark = pytest.mark.django_db(transaction=True)

AWAY, NEWLY_SILENT = 26, 4
QUEUES = (CONTROL, REMOTE, AWAY_HOSTS, IDLE_HOSTS, HOST_CHECKS)
UNTIL_TOLD = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)"


@pytest.fixture
def silent(silence: int, db: None) -> list[Host]:
    """Each accepts a connection and says nothing; of most that is known."""
    builders.queues(slots=100)
    secret = Secret(password="nobody asks for it").sealed()
    return [
        builders.host(
            f"silent-{number}", kind=Host.Kind.SSH, address="127.0.0.1", port=silence, user="u", secret=secret,
            host_key="ssh-ed25519 AAAA", unreachable_since=timezone.now() if number < AWAY else None,
        )
        for number in range(AWAY + NEWLY_SILENT)
    ]  # fmt: skip


@pytest.fixture
def healthy(make_host: MakeHost, account: sshd.Account, tmp_path: Path) -> Host:
    return make_host("healthy", root=f"{account.home}/{tmp_path.name}", slots=10)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def start(log: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Whatever was started is killed."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait(20)


def work(started: list[subprocess.Popen[bytes]], log: Path) -> None:
    argv = [sys.executable, "-m", "tests.ssh.worker_process", str(connection.settings_dict["NAME"]), ",".join(QUEUES)]
    with log.open("ab") as out:
        started.append(subprocess.Popen(argv, cwd=settings.BASE_DIR, stdout=out, stderr=out))


def waiting() -> dict[str, int]:
    """Messages by queue, those that a worker holds among them."""
    with connect() as redis:
        return {name: redis.hlen(f"anneal:{name}.msgs") for name in QUEUES}


def run_on(host: Host) -> tuple[Stage, Attempt]:
    hands = Hands(host)
    stage = hands.script(UNTIL_TOLD, host=host)
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    return stage, attempt


@pytest.mark.timeout(180)
def test_runs_on_a_healthy_host_are_seen_to_end_while_thirty_keep_silent(
    silent: list[Host], healthy: Host, start: list[subprocess.Popen[bytes]], log: Path
) -> None:
    runs = [run_on(healthy) for _run in range(4)]
    for host in silent:
        stage = builders.stage(StageStatus.RUNNING, host=host)
        Attempt.objects.filter(stage=stage).update(host=host, folder="/nowhere/run", started_at=timezone.now())
    try:
        work(start, log)
        busy = wait_until(lambda: Host.objects.filter(pk__in=[host.pk for host in silent]).exclude(observer=""), 40)
        assert busy, "the silent ones are waited for"
        longest: list[float] = []
        for stage, attempt in runs:
            time.sleep(3)  # so that all of it lasts longer than a silent host is waited for
            Path(attempt.folder, "go").touch()
            begun = time.monotonic()
            wait_until(lambda stage=stage: Hands(healthy).status(stage) == "completed", 15, "it is looked at")
            longest.append(time.monotonic() - begun)
            there = waiting()
            # One waits at most and one is being worked on, for each host.
            assert all(count <= 2 * (len(silent) + 1) for count in there.values()), there
            assert there[REMOTE] <= 2 * (NEWLY_SILENT + 1), there
        assert sorted(longest)[1] < 5, longest
        said = log.read_text()
        assert "does not answer" in said
        for noise in ("age limit", "was skipped", "Traceback"):
            assert noise not in said
    finally:
        for _stage, attempt in runs:
            for_host(healthy).kill(attempt.folder)


@pytest.mark.timeout(120)
def test_a_check_waits_for_none_of_a_host_that_is_known_to_be_away(
    silent: list[Host], healthy: Host, start: list[subprocess.Popen[bytes]], log: Path
) -> None:
    for host in silent:
        begin_check(host)
    begin_check(healthy)
    assert waiting()[AWAY_HOSTS] == AWAY
    work(start, log)
    wait_until(lambda: Host.objects.filter(unreachable_since=None, last_error="", facts_at__isnull=False), 60)
    healthy.refresh_from_db()
    assert healthy.facts["cpus"] >= 1
    assert waiting()[AWAY_HOSTS] > AWAY / 2, "most of the others are still to be asked"
