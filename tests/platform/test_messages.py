"""Messages wake an idle worker at once, survive a Redis that is away, and leave no database connection open."""

import threading
import time
from collections.abc import Callable, Iterator

import dramatiq
import pytest
from django.conf import settings
from django.db import connection, connections
from django_dramatiq.middleware import DbConnectionsMiddleware
from dramatiq.middleware import AgeLimit, Retries

from platform_site import valkey
from platform_site.broker import DEAD_MS, Broker, Marks, WorkerRegistry
from platform_site.common.messages import connect, send, send_once
from platform_site.common.workers import live_workers
from tests.harness import wait_until


@pytest.fixture
def broker(valkey_server: valkey.Server) -> Iterator[Broker]:
    """A broker of our own kind, without the platform's actors; the platform's is back afterwards."""
    before = dramatiq.get_broker()
    broker = Broker(
        url=settings.REDIS_URL,
        middleware=[AgeLimit(), Marks(), Retries(), DbConnectionsMiddleware(), WorkerRegistry()],
    )
    dramatiq.set_broker(broker)
    yield broker
    broker.close()
    dramatiq.set_broker(before)


@pytest.fixture
def working(broker: Broker) -> Iterator[Callable[..., dramatiq.Worker]]:
    workers: list[dramatiq.Worker] = []

    def start(*queues: str, threads: int = 2) -> dramatiq.Worker:
        for queue in queues:
            broker.declare_queue(queue)
        worker = dramatiq.Worker(broker, queues=set(queues), worker_threads=threads, worker_timeout=1000)
        worker.start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop(timeout=5000)


def test_an_idle_worker_picks_up_at_once(broker: Broker, working: Callable[..., dramatiq.Worker]) -> None:
    done: list[float] = []

    @dramatiq.actor(queue_name="control", max_retries=0)
    def note() -> None:
        done.append(time.monotonic())

    working("control")
    with connect() as redis:
        wait_until(lambda: redis.pubsub_numsub("anneal:wake")[0][1])
    took = []
    for _ in range(5):
        time.sleep(0.3)  # idle again
        done.clear()
        start = time.monotonic()
        assert send("note", "control")
        wait_until(lambda: done, 5)
        took.append(done[0] - start)
    assert sorted(took)[2] < 0.08, took


def test_a_worker_takes_from_its_own_queues_alone(broker: Broker, working: Callable[..., dramatiq.Worker]) -> None:
    seen: list[str] = []

    @dramatiq.actor(queue_name="default", max_retries=0)
    def place(queue: str) -> None:
        seen.append(queue)

    working("evaluation")
    broker.declare_queue("training")
    send("place", "training", "training")
    send("place", "evaluation", "evaluation")
    wait_until(lambda: seen, 5)
    time.sleep(0.3)
    assert seen == ["evaluation"]


def test_redis_away_is_no_error_and_is_over_soon(broker: Broker, valkey_server: valkey.Server) -> None:
    @dramatiq.actor(queue_name="control")
    def nothing() -> None: ...

    assert send("nothing", "control")
    valkey_server.stop()
    try:
        start = time.monotonic()
        assert not send("nothing", "control")
        assert time.monotonic() - start < 1
    finally:
        valkey_server.start()
    assert send("nothing", "control")


def test_a_worker_goes_on_after_redis_was_restarted(
    broker: Broker, working: Callable[..., dramatiq.Worker], valkey_server: valkey.Server
) -> None:
    done = threading.Event()

    @dramatiq.actor(queue_name="control", max_retries=0)
    def note() -> None:
        done.set()

    working("control")
    valkey_server.stop()
    time.sleep(0.5)
    valkey_server.start()
    assert wait_until(lambda: send("note", "control"), 5)
    assert done.wait(10)


def test_a_message_that_waited_too_long_is_dropped(broker: Broker, working: Callable[..., dramatiq.Worker]) -> None:
    seen: list[str] = []

    @dramatiq.actor(queue_name="control", max_retries=0)
    def note(word: str) -> None:
        seen.append(word)

    send("note", "control", "stale", max_age_ms=50)
    time.sleep(0.2)
    send("note", "control", "fresh", max_age_ms=5000)
    working("control")
    wait_until(lambda: seen, 5)
    time.sleep(0.2)
    assert seen == ["fresh"]


def test_what_waits_already_is_not_sent_again(broker: Broker, working: Callable[..., dramatiq.Worker]) -> None:
    begun, leave = threading.Semaphore(0), threading.Event()

    @dramatiq.actor(queue_name="control", max_retries=0)
    def hold(number: int) -> None:
        begun.release()
        leave.wait(10)

    def again(number: int = 1, queue: str = "control") -> bool:
        return send_once("hold", queue, number, max_age_ms=30_000)

    try:
        assert [again(), again(), again(2), again(queue="remote"), again()] == [True, False, True, True, False]
        with connect() as redis:
            assert redis.llen("anneal:control") == 2
            working("control")
            assert begun.acquire(timeout=5)
            assert begun.acquire(timeout=5)
            assert [again(), again()] == [True, False], "a worker has begun with it: the next may wait"
            redis.pexpire("anneal:waits:control:hold:1", 3_600_000)
            assert again(), "the clock was set back: no mark is that young"
            redis.flushall()
            assert again(), "Redis forgot it"
    finally:
        leave.set()


def test_what_was_lost_or_dropped_is_sent_again(broker: Broker, working: Callable[..., dramatiq.Worker]) -> None:
    seen: list[int] = []

    @dramatiq.actor(queue_name="control", max_retries=0)
    def note(number: int) -> None:
        seen.append(number)

    assert send_once("note", "control", 1, max_age_ms=100)
    time.sleep(0.2)
    assert send_once("note", "control", 1, max_age_ms=5000)
    assert send_once("note", "control", 2, max_age_ms=5000)
    working("control", threads=1)
    wait_until(lambda: 2 in seen, 5)
    assert seen == [1, 2]


def test_what_was_dropped_is_forgotten_soon(broker: Broker, working: Callable[..., dramatiq.Worker]) -> None:
    @dramatiq.actor(queue_name="control", max_retries=0)
    def nothing() -> None: ...

    send("nothing", "control", max_age_ms=1)
    time.sleep(0.1)
    working("control")
    with connect() as redis:
        wait_until(lambda: redis.zcard("anneal:control.XQ") == 1, 5)
        assert broker.dead_message_ttl == DEAD_MS < 600_000


@pytest.mark.django_db(transaction=True)
def test_an_actor_leaves_no_database_connection_open(broker: Broker, working: Callable[..., dramatiq.Worker]) -> None:
    held: list[object] = []
    after: list[object] = []

    @dramatiq.actor(queue_name="control", max_retries=0)
    def ask() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        held.append(connection.connection)

    class Look(dramatiq.Middleware):
        def after_process_message(self, broker: object, message: object, **_: object) -> None:
            after.extend(each.connection for each in connections.all(initialized_only=True))

    broker.add_middleware(Look(), before=DbConnectionsMiddleware)  # afterwards they are called in reverse
    working("control", threads=1)
    send("ask", "control")
    wait_until(lambda: after, 5)
    assert held[0] is not None
    assert after == [None]


def test_a_worker_is_listed_with_its_load_while_it_lives(
    broker: Broker, working: Callable[..., dramatiq.Worker]
) -> None:
    inside, leave = threading.Event(), threading.Event()

    @dramatiq.actor(queue_name="training", max_retries=0)
    def hold() -> None:
        inside.set()
        leave.wait(10)

    worker = working("training", "evaluation", threads=3)
    (listed,) = wait_until(live_workers, 2)
    assert (listed.queues, listed.threads, listed.busy) == (["evaluation", "training"], 3, 0)
    send("hold", "training")
    assert inside.wait(5)
    wait_until(lambda: [found.busy for found in live_workers()] == [1], 5)
    leave.set()
    worker.stop(timeout=5000)
    assert live_workers() == []


def test_a_message_that_was_dropped_does_not_count_as_work(
    broker: Broker, working: Callable[..., dramatiq.Worker]
) -> None:
    done: list[str] = []

    @dramatiq.actor(queue_name="control", max_retries=0)
    def note(word: str) -> None:
        done.append(word)

    send("note", "control", "first")
    for _ in range(3):
        send("note", "control", "late", max_age_ms=1)
    time.sleep(0.1)
    send("note", "control", "last")
    working("control", threads=1)
    wait_until(lambda: "last" in done, 5)

    registry = next(one for one in broker.middleware if isinstance(one, WorkerRegistry))
    wait_until(lambda: not any(registry._busy.values()), 5)
    assert done == ["first", "last"]


def test_nobody_is_listed_when_redis_is_away(valkey_server: valkey.Server) -> None:
    valkey_server.stop()
    try:
        assert live_workers() == []
    finally:
        valkey_server.start()
