"""The clock: once a second it asks that everything be looked at. Several may run; the holder of a lease ticks."""

import logging
import secrets
import threading
import time
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from pipelines.tasks import maintenance_tick, tick
from platform_site.common.db import released_connections
from platform_site.common.messages import connect

log = logging.getLogger(__name__)

LEASE: Final = "anneal:scheduler"
LEASE_MS: Final = 5000
TICK_S: Final = 1.0
MAINTENANCE_S: Final = 300.0
FIRST_MAINTENANCE_S: Final = 30.0
"""Not at once: what a start finds half done, the first looks bring on by themselves."""

# Renewal by the holder alone: another may have taken the lease while we were stopped.
# Redis counts an expiry by its wall clock: one that is further away than any can be is from before that was set back.
RENEW: Final = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end "
    "if redis.call('pttl', KEYS[1]) > tonumber(ARGV[2]) then redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
)
RELEASE: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Lease:
    """A key in Redis that one holder renews. Losing it costs nothing: ticks are guarded where they act."""

    def __init__(self, client: "Redis", name: str = LEASE, ttl_ms: int = LEASE_MS) -> None:
        self._client, self._name, self._ttl_ms = client, name, ttl_ms
        self._token = secrets.token_hex(8)

    def hold(self) -> bool:
        """Renew or take the lease; False while another holds it. Raises RedisError."""
        if self._client.eval(RENEW, 1, self._name, self._token, self._ttl_ms):
            return True
        return bool(self._client.set(self._name, self._token, nx=True, px=self._ttl_ms))

    def release(self) -> None:
        self._client.eval(RELEASE, 1, self._name, self._token)


def run(stopping: threading.Event) -> None:
    """Tick once a second until `stopping`. A failed tick is logged, and the next one goes on."""
    lease = Lease(connect())
    next_at = time.monotonic()
    starting, maintenance_at = True, next_at + FIRST_MAINTENANCE_S
    while not stopping.wait(max(0.0, next_at - time.monotonic())):
        # A clock that fell behind (a suspended machine) goes on from now and makes up for nothing.
        next_at = max(next_at + TICK_S, time.monotonic())
        try:
            if lease.hold():
                with released_connections():
                    tick()
                if time.monotonic() >= maintenance_at:
                    maintenance_at = time.monotonic() + MAINTENANCE_S
                    maintenance_tick(at_start=starting)
                    starting = False
        except RedisError as error:
            log.warning("Redis is away: %s", type(error).__name__)
        except Exception:  # whatever it was, the clock goes on
            log.exception("the tick failed")
    try:
        lease.release()
    except RedisError:
        pass  # it expires by itself
