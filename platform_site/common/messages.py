"""Sending work to the workers. The database is the outbox: a message is only a nudge, and may be lost."""

import logging
from typing import Any, Final

import dramatiq
from django.conf import settings
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = logging.getLogger(__name__)

MARK: Final = "mark"
"""The option of a message that says which key stands in Redis for as long as it waits."""
# Redis counts an expiry by its wall clock: one that is further away than any can be is from before that was set back.
SET_MARK: Final = (
    "if redis.call('pttl', KEYS[1]) > tonumber(ARGV[1]) then redis.call('del', KEYS[1]) end "
    "return redis.call('set', KEYS[1], 1, 'NX', 'PX', ARGV[1])"
)


def connect(url: str | None = None) -> "Redis":
    """A client that gives up soon: what it is used for can be done later, and nobody should wait for it."""
    return Redis.from_url(
        url or settings.REDIS_URL,
        socket_connect_timeout=2,
        socket_timeout=5,
        retry=Retry(NoBackoff(), 1),  # once, at once: a connection kept over a restart of Redis is stale
        health_check_interval=0,
    )


def send(
    actor_name: str,
    queue_name: str,
    *args: Any,
    delay_ms: int | None = None,
    max_age_ms: int | None = None,
    mark: str = "",
) -> bool:
    """Send work to a queue by the actor's name, and say whether it went: what sends lies below the actors.

    Redis away is no error: the next tick finds in the database what is to be done, and sends it again.
    `max_age_ms`: dropped when it waited longer. `mark`: a key in Redis that goes when a worker begins with it. To be
    called after commit (`transaction.on_commit`).
    """
    options: dict[str, Any] = {} if max_age_ms is None else {"max_age": max_age_ms}
    if mark:
        options[MARK] = mark
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=queue_name, actor_name=actor_name, args=args, kwargs={}, options=options
    )
    try:
        dramatiq.get_broker().enqueue(message, delay=delay_ms)
    except (RedisError, BrokerError, OSError) as error:
        log.warning("not sent: %s (%s)", actor_name, type(error).__name__)
        return False
    return True


def send_once(actor_name: str, queue_name: str, number: int, *, max_age_ms: int) -> bool:
    """As `send` with one argument, unless the same waits in that queue already; whether it went.

    What says that it waits expires with the message's age, so that one that is lost keeps nobody from sending it again.
    """
    mark = f"anneal:waits:{queue_name}:{actor_name}:{number}"
    broker = dramatiq.get_broker()
    assert isinstance(broker, RedisBroker), "the platform has no other"
    try:
        if not broker.client.eval(SET_MARK, 1, mark, max_age_ms):
            return False
    except (RedisError, OSError) as error:
        log.warning("not sent: %s (%s)", actor_name, type(error).__name__)
        return False
    return send(actor_name, queue_name, number, max_age_ms=max_age_ms, mark=mark)
