"""Sending work to the workers. The database is the outbox: a message is only a nudge, and may be lost."""

import logging
from typing import Any

import dramatiq
from django.conf import settings
from dramatiq.errors import BrokerError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = logging.getLogger(__name__)


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
    actor_name: str, queue_name: str, *args: Any, delay_ms: int | None = None, max_age_ms: int | None = None
) -> bool:
    """Send work to a queue by the actor's name, and say whether it went: what sends lies below the actors.

    Redis away is no error: the next tick finds in the database what is to be done, and sends it again.
    `max_age_ms`: dropped when it waited longer. To be called after commit (`transaction.on_commit`).
    """
    options: dict[str, Any] = {} if max_age_ms is None else {"max_age": max_age_ms}
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=queue_name, actor_name=actor_name, args=args, kwargs={}, options=options
    )
    try:
        dramatiq.get_broker().enqueue(message, delay=delay_ms)
    except (RedisError, BrokerError, OSError) as error:
        log.warning("not sent: %s (%s)", actor_name, type(error).__name__)
        return False
    return True
