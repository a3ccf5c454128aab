"""/healthz and /readyz tell what is there and what is missing, to anybody, and nothing else."""

import time

import pytest
from django.test import Client

from platform_site import valkey
from platform_site.common.messages import connect
from platform_site.common.queues import ALL_QUEUES
from platform_site.common.workers import WorkerInfo, beat, leave, live_workers


def _worker(queues: list[str], name: str = "w") -> WorkerInfo:
    return WorkerInfo(name=name, queues=queues, threads=2, busy=0, last_seen=time.time())


def test_alive_needs_nothing(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_ready_with_database_redis_and_workers_for_every_queue(client: Client) -> None:
    with connect() as redis:
        beat(redis, _worker(list(ALL_QUEUES)))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "database": "ok", "disk": "ok", "redis": "ok", "workers": "ok"}


@pytest.mark.django_db
def test_a_queue_without_worker_is_named_as_missing_workers(client: Client) -> None:
    with connect() as redis:
        beat(redis, _worker([queue for queue in ALL_QUEUES if queue != "training"]))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["workers"] == "unavailable"
    assert answer.json()["redis"] == "ok"


@pytest.mark.django_db
def test_redis_away_is_named(client: Client, valkey_server: valkey.Server) -> None:
    valkey_server.stop()
    try:
        answer = client.get("/readyz")
    finally:
        valkey_server.start()
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "database": "ok",
        "disk": "ok",
        "redis": "unavailable",
        "workers": "unavailable",
    }


def test_a_worker_that_left_is_not_listed() -> None:
    with connect() as redis:
        beat(redis, _worker(["control"], "one"))
        beat(redis, _worker(["training"], "two"))
        assert [worker.name for worker in live_workers()] == ["one", "two"]
        leave(redis, "one")
        assert [worker.name for worker in live_workers()] == ["two"]
        assert 0 < redis.ttl("anneal:worker:two") <= 10


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_changing_methods_are_refused(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
