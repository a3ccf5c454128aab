"""Sending work to the workers. The database is the outbox: a message is only a nudge, and may be lost."""

import logging
from typing import Any

from django.conf import settings
from dramatiq import Actor
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
    actor: Actor[..., Any],
    *args: Any,
    queue_name: str | None = None,
    delay_ms: int | None = None,
    max_age_ms: int | None = None,
) -> bool:
    """Send `actor(*args)` to the workers, and say whether it went.

    Redis away is no error: the next tick finds in the database what is to be done, and sends it again.
    `max_age_ms`: dropped when it waited longer. To be called after commit (`transaction.on_commit`).
    """
    options: dict[str, Any] = {} if max_age_ms is None else {"max_age": max_age_ms}
    message = actor.message_with_options(args=args, kwargs={}, **options)
    if queue_name is not None:
        message = message.copy(queue_name=queue_name)
    try:
        actor.broker.enqueue(message, delay=delay_ms)
    except (RedisError, BrokerError, OSError) as error:
        log.warning("not sent: %s (%s)", actor.actor_name, type(error).__name__)
        return False
    return True
