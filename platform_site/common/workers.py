"""Which workers are alive, what they serve and how busy they are: a key in Redis each, which expires by itself."""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from redis import Redis
from redis.exceptions import RedisError

from .messages import connect

PREFIX: Final = "anneal:worker:"
BEAT_S: Final = 3.0
EXPIRE_S: Final = 10


@dataclass(frozen=True)
class WorkerInfo:
    """One set of threads that serves some queues. `busy` of its `threads` are working."""

    name: str
    queues: list[str]
    threads: int
    busy: int
    last_seen: float
    """Seconds since the epoch, by the worker's clock."""

    @property
    def last_seen_at(self) -> datetime:
        return datetime.fromtimestamp(self.last_seen, UTC)


def beat(client: "Redis", info: WorkerInfo) -> None:
    """Say that a worker lives. Raises RedisError."""
    client.set(PREFIX + info.name, json.dumps(asdict(info)), ex=EXPIRE_S)


def leave(client: "Redis", name: str) -> None:
    """Say that a worker stopped. Raises RedisError."""
    client.delete(PREFIX + name)


def live_workers(client: "Redis | None" = None) -> list[WorkerInfo]:
    """Every worker that was seen in the last seconds, by name. Empty when Redis is away."""
    client = client or connect()
    try:
        keys = sorted(client.scan_iter(match=PREFIX + "*", count=1000))
        found = cast("list[Any]", client.mget(keys)) if keys else []
    except RedisError:
        return []
    now = time.time()
    workers = [WorkerInfo(**json.loads(text)) for text in found if text]
    return [worker for worker in workers if worker.last_seen > now - 10 * EXPIRE_S]
