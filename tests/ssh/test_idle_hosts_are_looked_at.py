"""A host that nothing runs on is asked now and then whether it answers, and nobody with runs waits for that."""

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.utils import timezone

from environments.models import Host
from environments.transports import connection
from pipelines.services.dispatch import dispatch
from pipelines.services.observe import observe_host
from pipelines.tasks import tick
from platform_site.common.messages import connect
from platform_site.common.queues import CONTROL, IDLE_HOSTS, REMOTE
from tests.pipelines import builders
from tests.pipelines.conftest import Hands

from . import sshd
from .hosts import MakeHost

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def idle(make_host: MakeHost, account: sshd.Account, proxy: sshd.Proxy, tmp_path: Path) -> Host:
    """Checked, and last seen an hour ago."""
    builders.queues(slots=4)
    hour_ago = timezone.now() - timedelta(hours=1)
    root = f"{account.home}/{tmp_path.name}"
    return make_host("a-idle", port=proxy.port, root=root, facts_at=hour_ago, seen_at=hour_ago)


def looks() -> dict[str, int]:
    """What one tick sends, by queue, where nothing waits yet."""
    with connect() as redis:
        redis.flushall()
        tick()
        return {name: redis.llen(f"anneal:{name}") for name in (CONTROL, REMOTE, IDLE_HOSTS)}


def test_one_that_died_is_found_out_and_the_next_run_goes_elsewhere(
    idle: Host, make_host: MakeHost, proxy: sshd.Proxy
) -> None:
    make_host("b-alive", root=f"{idle.root}/alive")
    proxy.refuse()
    observe_host(idle.pk)
    idle.refresh_from_db()
    assert idle.unreachable_since is not None
    hands = Hands(idle)
    stage = hands.script("pass")
    assert dispatch() == 1
    given = hands.attempt(stage).host
    assert given is not None
    assert given.name == "b-alive"
    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)


def test_one_that_answers_is_asked_once_a_period(idle: Host, proxy: sshd.Proxy) -> None:
    observe_host(idle.pk)
    idle.refresh_from_db()
    assert idle.seen_at is not None
    assert timezone.now() - idle.seen_at < timedelta(seconds=5)
    assert looks()[IDLE_HOSTS] == 0
    asked, seen = proxy.connections, idle.seen_at
    observe_host(idle.pk)
    idle.refresh_from_db()
    assert (proxy.connections, idle.seen_at) == (asked, seen)


def test_it_holds_no_thread_of_those_who_look_at_runs(idle: Host) -> None:
    assert looks() == {CONTROL: 0, REMOTE: 0, IDLE_HOSTS: 1}
    Host.objects.update(unreachable_since=timezone.now())
    assert looks() == {CONTROL: 0, REMOTE: 0, IDLE_HOSTS: 1}
    Host.objects.update(retry_at=timezone.now() + timedelta(seconds=30))
    assert looks() == {CONTROL: 0, REMOTE: 0, IDLE_HOSTS: 0}, "not before its pause is over"


def test_while_a_look_waits_no_other_is_sent(idle: Host) -> None:
    assert looks()[IDLE_HOSTS] == 1
    for _tick in range(3):
        tick()
    with connect() as redis:
        assert redis.llen(f"anneal:{IDLE_HOSTS}") == 1


def test_one_that_is_looked_at_is_not_asked_for_again(idle: Host) -> None:
    Host.objects.update(observer="somebody", observer_until=timezone.now() + timedelta(seconds=20))
    assert looks()[IDLE_HOSTS] == 0


@pytest.mark.parametrize(
    "fields",
    [{"facts_at": None}, {"enabled": False}, {"kind": Host.Kind.LOCAL}],
    ids=["never checked", "switched off", "this machine"],
)
def test_some_are_nobodys_business(idle: Host, fields: dict[str, datetime | bool | str | None]) -> None:
    Host.objects.update(**fields)
    assert looks()[IDLE_HOSTS] == 0


def test_the_period_is_a_setting(idle: Host, settings: LazySettings) -> None:
    settings.HOST_CHECK_S = 0
    assert looks()[IDLE_HOSTS] == 0
    settings.HOST_CHECK_S = 4000
    assert looks()[IDLE_HOSTS] == 0
    settings.HOST_CHECK_S = 3000
    assert looks()[IDLE_HOSTS] == 1


def test_a_cluster_whose_head_is_gone_is_found_out(db: None) -> None:
    fields = {"address": "http://127.0.0.1:9", "root": "/mnt/shared", "python": "/usr/bin/python3"}
    host = builders.host("lab", kind=Host.Kind.RAY, facts_at=timezone.now(), **fields)
    for _look in range(2):
        Host.objects.update(retry_at=None)
        observe_host(host.pk)
        host.refresh_from_db()
        assert host.unreachable_since is not None, "nor is it called back while nobody answers"


def test_asking_costs_one_round_trip(idle: Host) -> None:
    observe_host(idle.pk)  # makes the connection
    Host.objects.update(seen_at=timezone.now() - timedelta(hours=1))
    began = time.monotonic()
    observe_host(idle.pk)
    assert time.monotonic() - began < 0.5
