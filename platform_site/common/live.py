"""Tell every process that something changed.

Messages carry identifiers and versions, never content: whoever listens looks in the database, with the rights
of the person it looks for. A message can get lost (Redis restarts, a connection breaks): nothing may depend on
one. Listeners hear of every break as RESYNC, and look again at the versions of all that they show.
"""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import redis
import redis.asyncio
from django.conf import settings
from django.db import transaction
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

Id = str | int

CHANNEL: Final = "anneal-live"
"""One channel for all groups: a process keeps one subscription however many sockets it serves."""
_TIMEOUT_S: Final = 0.5
_PAUSE_S: Final = 1.0
"""After a failure nobody tries for this long, so that a burst of changes does not wait once each."""
_PING_S: Final = 5.0
_RETRY_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Event:
    """A change of the object that `group` names, e.g. "stream.UUID"."""

    group: str
    ids: dict[str, Id]


@dataclass(frozen=True)
class Link:
    """The state of the listening connection. `up` after a break means that messages may have been lost."""

    up: bool


LOST: Final = Link(up=False)
RESYNC: Final = Link(up=True)


class _Publisher:
    """One connection pool a process. Redis being away costs one short wait a second, and no error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._url = ""
        self._client: redis.Redis | None = None
        self._silent_until = 0.0

    def publish(self, messages: Sequence[str]) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            with self._connected().pipeline(transaction=False) as together:
                for message in messages:
                    together.publish(CHANNEL, message)
                together.execute()
        except (redis.RedisError, OSError) as error:
            self._silent_until = time.monotonic() + _PAUSE_S
            logger.warning("A live message was not sent; open pages look again by themselves: %s", error)

    def _connected(self) -> redis.Redis:
        with self._lock:
            if self._client is None or self._url != settings.REDIS_URL:
                self._url = settings.REDIS_URL
                self._client = redis.Redis.from_url(
                    self._url,
                    socket_timeout=_TIMEOUT_S,
                    socket_connect_timeout=_TIMEOUT_S,
                    # One new try: a pooled connection may have died with a Redis that is back by now.
                    retry=Retry(NoBackoff(), 1),
                )
            return self._client


_publisher = _Publisher()


def push_on_commit(group: str, **ids: Id) -> None:
    """Announce a change of `group` once the running transaction has committed (at once where there is none)."""
    push_all_on_commit([Event(group, ids)])


def push_all_on_commit(changes: Sequence[Event]) -> None:
    """Several changes in one go, each as `push_on_commit` would."""
    messages = [json.dumps({"group": event.group, "ids": event.ids}, separators=(",", ":")) for event in changes]
    transaction.on_commit(lambda: _publisher.publish(messages), robust=True)


async def events() -> AsyncIterator[Event | Link]:
    """Every announced change, for ever; RESYNC when the subscription stands (again), LOST when it broke."""
    failures = 0
    while True:
        client = redis.asyncio.Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=_TIMEOUT_S,
            # The client would reconnect silently, and we would not know that messages are missing.
            retry=AsyncRetry(NoBackoff(), 0),
        )
        try:
            async with client.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                failures = 0
                yield RESYNC
                async for event in _read(subscription):
                    yield event
        except (redis.RedisError, OSError) as error:
            if not failures:
                logger.warning("The live channel broke; listening again as soon as Redis answers: %s", error)
        finally:
            await client.aclose()
        yield LOST
        await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
        failures += 1


async def _read(subscription: "redis.asyncio.client.PubSub") -> AsyncIterator[Event]:
    """Events of one connection. Raises ConnectionError when it breaks, or when it stays silent to a ping."""
    pinged = False
    while True:
        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=_PING_S)
        if message is None:
            # A half-open connection gives no error: silence after a ping is one.
            if pinged:
                raise redis.ConnectionError("no answer to a ping")
            await subscription.ping()
            pinged = True
            continue
        pinged = False
        event = _event(message) if message["type"] == "message" else None
        if event is not None:
            yield event


def _event(message: dict[str, object]) -> Event | None:
    try:
        body = json.loads(message["data"])  # type: ignore[arg-type]  # whatever is no JSON is caught here
        return Event(str(body["group"]), dict(body["ids"]))
    except (ValueError, TypeError, KeyError):
        logger.warning("A live message of unknown form was skipped.")
        return None
