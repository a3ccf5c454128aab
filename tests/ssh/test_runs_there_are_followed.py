"""What a run on an SSH host writes is told at once; a follower that is cut off follows again."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from environments.models import Host
from pipelines.states import StageStatus
from platform_site.common.messages import connect
from platform_site.common.queues import REMOTE
from platform_site.loops import far_watcher
from tests.harness import wait_until
from tests.pipelines import builders
from tests.pipelines.conftest import Hands, hands

from . import sshd
from .hosts import MakeHost

__all__ = ["hands"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine(make_host: MakeHost, account: sshd.Account, proxy: sshd.Proxy, tmp_path: Path) -> Host:
    builders.queues(slots=4)
    return make_host(port=proxy.port, root=f"{account.home}/{tmp_path.name}")


@pytest.fixture
def watching() -> Iterator[None]:
    stopping = threading.Event()
    thread = threading.Thread(target=far_watcher.run, args=(stopping,))
    thread.start()
    yield
    stopping.set()
    thread.join()


def told() -> int:
    """Looks that were asked for so far."""
    with connect() as redis:
        return int(redis.llen(f"anneal:{REMOTE}"))


def write_line(folder: str, name: str) -> float:
    """Appends to a run's metrics as its trainer would; how long until a look was asked for."""
    before, started = told(), time.monotonic()
    with Path(folder, "metrics", f"{name}_metrics.jsonl").open("a") as file:
        file.write("{}\n")
    wait_until(lambda: told() > before, 10)
    return time.monotonic() - started


def test_a_line_written_there_asks_for_a_look_at_once(hands: Hands, proxy: sshd.Proxy, watching: None) -> None:
    stage = hands.script("import time; time.sleep(60)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    wait_until(lambda: told() > 0, 10)

    name = str(stage.pk)
    time.sleep(0.5)
    took = sorted(write_line(attempt.folder, name) for _ in range(10))
    assert took[5] < 0.5, took
    assert proxy.connections == 1


def test_a_follower_that_was_cut_off_follows_again(hands: Hands, proxy: sshd.Proxy, watching: None) -> None:
    stage = hands.script("import time; time.sleep(60)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    wait_until(lambda: told() > 0, 10)
    proxy.cut()
    time.sleep(far_watcher.RETRY_S + 2)
    assert write_line(attempt.folder, str(stage.pk)) < 5
