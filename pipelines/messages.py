"""The messages the platform sends itself, by name: what lies below the actors never imports them.

A message that cannot be sent is no error. The database holds what should be, and the next tick sends again.
"""

import logging
from typing import Any
from uuid import UUID

import dramatiq
from dramatiq.errors import BrokerError
from redis.exceptions import RedisError

from platform_site.common.queues import CONTROL

logger = logging.getLogger(__name__)

TICK_MAX_AGE_MS = 5_000
"""A tick that waited longer says nothing that the next one does not."""


def _send(actor: str, queue: str, *args: Any, max_age_ms: int | None = None) -> None:
    options: dict[str, Any] = {} if max_age_ms is None else {"max_age": max_age_ms}
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=queue, actor_name=actor, args=args, kwargs={}, options=options
    )
    try:
        dramatiq.get_broker().enqueue(message)
    except (BrokerError, RedisError, OSError) as error:
        logger.warning("%s not sent, the next tick will: %s", actor, error)


def send_launch(attempt_id: UUID, queue: str) -> None:
    """To the stage's own queue, which only its own workers take from."""
    _send("launch_attempt", queue, str(attempt_id))


def send_stop(attempt_id: UUID) -> None:
    _send("stop_attempt", CONTROL, str(attempt_id))


def send_dispatch() -> None:
    _send("dispatch_tick", CONTROL, max_age_ms=TICK_MAX_AGE_MS)


def send_observe(host_id: int) -> None:
    _send("observe_host", CONTROL, host_id, max_age_ms=TICK_MAX_AGE_MS)


def send_observe_stages(stage_ids: list[str]) -> None:
    _send("observe_stages", CONTROL, stage_ids, max_age_ms=TICK_MAX_AGE_MS)
