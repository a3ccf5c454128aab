"""A host that does not answer costs the others nothing: no look, no query, no place in a queue."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from environments.models import Host
from environments.transports import for_host
from environments.transports.connection import forget
from pipelines.models import Attempt, Stage
from pipelines.services.dispatch import dispatch
from pipelines.services.observe import observe_host
from pipelines.states import StageStatus
from pipelines.tasks import tick
from platform_site.common.messages import connect
from platform_site.common.queues import AWAY_HOSTS, CONTROL, REMOTE
from tests.harness import wait_until
from tests.pipelines import builders
from tests.pipelines.conftest import Hands, machine

from . import sshd
from .hosts import MakeHost

__all__ = ["machine"]

pytestmark = pytest.mark.django_db(transaction=True)

UNTIL_TOLD = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)"


@dataclass
class Run:
    hands: Hands
    stage: Stage
    attempt: Attempt

    @classmethod
    def on(cls, host: Host) -> "Run":
        hands = Hands(host)
        stage = hands.script(UNTIL_TOLD, host=host)
        made = cls(hands, stage, hands.launch(stage))
        hands.until(stage, StageStatus.RUNNING)
        return made

    def tell(self) -> None:
        Path(self.attempt.folder, "go").touch()

    def queries_of_a_look(self) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert observe_host(self.hands.host.pk) == 1
        return len(seen)


@pytest.fixture
def runs(
    machine: Host, make_host: MakeHost, account: sshd.Account, proxy: sshd.Proxy, tmp_path: Path
) -> Iterator[dict[str, Run]]:
    """One on this machine, one on a healthy SSH host, and one on a host behind the proxy."""
    root = f"{account.home}/{tmp_path.name}"
    hosts = [machine, make_host("alive", root=f"{root}/alive"), make_host("dead", port=proxy.port, root=f"{root}/dead")]
    made = {host.name: Run.on(host) for host in hosts}
    yield made
    proxy.restore()
    for run in made.values():
        forget(run.hands.host.pk)  # of one that was cut off nobody asks for another connection for a while
        for_host(run.hands.host).kill(run.attempt.folder)


def test_while_one_is_waited_for_the_others_are_looked_at_and_their_runs_end(
    runs: dict[str, Run], proxy: sshd.Proxy
) -> None:
    dead = runs.pop("dead")
    proxy.mute()
    waiting = threading.Thread(target=observe_host, args=(dead.hands.host.pk,))
    waiting.start()
    wait_until(lambda: proxy.swallowed > 0, 10)

    for run in runs.values():
        assert observe_host(run.hands.host.pk) == 1
    assert waiting.is_alive()  # it was asked before them, and still says nothing
    for run in runs.values():
        run.tell()
        assert run.hands.until(run.stage) == "completed"
    new = runs["local"].hands.script("pass", host=runs["local"].hands.host)
    assert dispatch() == 1
    assert runs["local"].hands.status(new) == "starting"
    waiting.join()
    dead.hands.host.refresh_from_db()
    assert dead.hands.host.unreachable_since is not None
    assert dead.hands.status(dead.stage) == "running"


def test_a_look_at_another_takes_as_many_queries_with_it_as_without(runs: dict[str, Run], proxy: sshd.Proxy) -> None:
    healthy = [runs["local"], runs["alive"]]
    before = [run.queries_of_a_look() for run in healthy]
    proxy.refuse()
    runs["dead"].hands.look()
    assert [run.queries_of_a_look() for run in healthy] == before


def test_it_is_asked_again_after_a_pause_and_not_at_each_tick(runs: dict[str, Run], proxy: sshd.Proxy) -> None:
    proxy.refuse()
    dead = runs["dead"].hands.host
    Host.objects.filter(pk=dead.pk).update(failures=5)  # half a minute until it is asked again
    asked = proxy.connections
    looks = 0
    for _tick in range(20):
        observe_host(dead.pk)
        looks += observe_host(runs["alive"].hands.host.pk)
    dead.refresh_from_db()
    assert (dead.failures, proxy.connections) == (6, asked + 1)
    assert looks == 20


def test_it_waits_on_threads_of_its_own(runs: dict[str, Run], proxy: sshd.Proxy) -> None:
    """One message a host, however many ticks; those that answered last wait for none that did not."""

    def waiting() -> dict[str, int]:
        with connect() as redis:
            return {name: redis.llen(f"anneal:{name}") for name in (CONTROL, REMOTE, AWAY_HOSTS)}

    proxy.refuse()
    runs["dead"].hands.look()
    dead = Host.objects.filter(name="dead")
    dead.update(retry_at=timezone.now() + timedelta(seconds=50))
    with connect() as redis:
        redis.flushall()
    tick()
    assert waiting() == {CONTROL: 1, REMOTE: 1, AWAY_HOSTS: 0}, "not before its pause is over"
    dead.update(retry_at=None)
    for _tick in range(3):
        tick()
    assert waiting() == {CONTROL: 1, REMOTE: 1, AWAY_HOSTS: 1}


def test_runs_without_a_host_of_their_own_are_placed_on_those_that_answer(
    runs: dict[str, Run], proxy: sshd.Proxy
) -> None:
    proxy.refuse()
    runs["dead"].hands.look()
    builders.queues(slots=10)
    Host.objects.exclude(name="dead").update(slots=3)
    Host.objects.filter(name="dead").update(slots=100)
    stages = [runs["local"].hands.script("pass") for _ in range(6)]
    assert dispatch() == 4  # two more on each of the two
    names = set(Attempt.objects.filter(stage__in=stages, host__isnull=False).values_list("host__name", flat=True))
    assert names == {"local", "alive"}
