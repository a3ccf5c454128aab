"""Database connections: whoever works outside a request gives theirs back after each unit of work."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections


@contextmanager
def released_connections() -> Iterator[None]:
    """Closes (or returns to the pool) this thread's connections when the block ends. Also a decorator.

    For actors, the scheduler's ticks and the database work of consumers: threads that live long and would
    otherwise each hold a connection while they wait. Inside a transaction of the caller nothing is closed.
    """
    try:
        yield
    finally:
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close()
