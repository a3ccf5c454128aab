"""A client that does not read: refused after a few messages, caught up by its cursor, dropped when stuck."""

import asyncio
from typing import Any

import orjson

from pipelines.consumers import live as live_socket
from pipelines.live.outbox import MOST_WAITING, Outbox
from platform_site.common.models import User
from platform_site.common.roles import Role
from platform_site.common.sockets import Access

from .conftest import Run
from .test_job_socket import points


async def test_a_full_outbox_refuses_and_calls_when_there_is_room() -> None:
    gate, sent, called = asyncio.Event(), [], []

    async def send(text: str) -> None:
        await gate.wait()
        sent.append(text)

    outbox = Outbox(send, lambda: None)

    def missed() -> None:
        called.append(1)

    taken = [outbox.offer(str(i), missed) for i in range(MOST_WAITING + 3)]
    assert taken == [True] * MOST_WAITING + [False] * 3
    gate.set()
    while len(sent) < MOST_WAITING:
        await asyncio.sleep(0.001)
    assert sent == [str(i) for i in range(MOST_WAITING)]
    assert called == [1]
    assert outbox.offer("again")


async def test_a_stuck_client_is_dropped() -> None:
    dropped = asyncio.Event()

    async def send(text: str) -> None:
        await asyncio.Event().wait()

    outbox = Outbox(send, dropped.set, stuck_s=0.05)
    outbox.offer("hello")
    await asyncio.wait_for(dropped.wait(), 2)
    assert outbox.closed
    assert not outbox.offer("more")


async def test_what_waits_is_sent_before_the_goodbye() -> None:
    sent: list[str] = []
    done = asyncio.Event()

    async def send(text: str) -> None:
        sent.append(text)

    async def goodbye() -> None:
        sent.append("bye")
        done.set()

    outbox = Outbox(send, lambda: None)
    outbox.offer("a")
    outbox.finish(goodbye)
    assert not outbox.offer("b")
    await asyncio.wait_for(done.wait(), 2)
    assert sent == ["a", "bye"]


def test_a_reader_that_pauses_gets_everything_once_when_it_goes_on(run: Run, alice: User) -> None:
    asyncio.run(_pausing_reader(run, alice))


async def _pausing_reader(run: Run, alice: User) -> None:
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said.put_nowait({"type": "websocket.connect"})
    reads, sent = asyncio.Event(), []

    async def send(message: dict[str, Any]) -> None:
        await reads.wait()
        if message["type"] == "websocket.send":
            sent.append(orjson.loads(message["text"]))

    scope = {
        "type": "websocket",
        "headers": [],
        "query_string": b"format=json",
        "access": Access(user=alice, role=Role.VIEWER),
        "url_route": {"kwargs": {"job": str(run.id)}},
    }
    reads.set()
    serving = asyncio.create_task(live_socket(scope, said.get, send))
    async with asyncio.timeout(10):
        while len(sent) < 2:
            await asyncio.sleep(0.01)
    reads.clear()
    last = 3 * MOST_WAITING
    for step in range(1, last + 1):
        await asyncio.to_thread(run.log_and_sync, step, loss=step)
        await asyncio.sleep(0.06)
    reads.set()
    async with asyncio.timeout(10):
        while not any(m["type"] == "progress" and m["step"] == last for m in sent):
            await asyncio.sleep(0.01)
    said.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(serving, 5)
    assert points(sent) == [("loss", step, step) for step in range(1, last + 1)]
    # What was refused came together, not one by one out of a memory that grew.
    assert sum(message["type"] == "metrics" for message in sent) < last
