"""Keeps the leases of the short stages that run in this process. One thread for all: a stage may last a millisecond."""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone

from pipelines.models import Attempt
from platform_site.common import clock
from platform_site.common.db import released_connections

logger = logging.getLogger(__name__)

LEASE_S: Final = 15.0
RENEW_S: Final = 4.0


def lease_until() -> datetime:
    return timezone.now() + timedelta(seconds=LEASE_S)


class _Leases:
    def __init__(self) -> None:
        self._held: set[UUID] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, attempts: set[UUID]) -> None:
        with self._lock:
            self._held |= attempts
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
                self._thread.start()

    def remove(self, attempts: set[UUID]) -> None:
        with self._lock:
            self._held -= attempts

    def _renew(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(RENEW_S)
            with self._lock:
                held = list(self._held)
                if not held:
                    self._thread = None
                    return
            try:
                with released_connections():
                    Attempt.objects.filter(pk__in=held, outcome="").update(lease_until=lease_until())
            except DatabaseError:  # it passes, and who gave up here would be found lost while it works
                logger.warning("The leases of %s could not be renewed", ", ".join(map(str, held)))


_leases = _Leases()


@contextmanager
def renewed(attempts: Iterable[Attempt]) -> Iterator[None]:
    """Keep the leases while the work lasts. A worker that is killed or frozen stops renewing, and is found lost."""
    held = {attempt.pk for attempt in attempts}
    _leases.add(held)
    try:
        yield
    finally:
        _leases.remove(held)


@contextmanager
def preparing(attempt: Attempt) -> Iterator[bool]:
    """Hold the attempt while its inputs are brought to its host, which may take minutes; False when another has it.

    Meanwhile the observer sends it to nobody else, and does not count it as late.
    """
    term = timedelta(seconds=LEASE_S)
    free = Q(lease_until=None) | Q(lease_until__lt=timezone.now()) | Q(lease_until__gt=clock.out_of_reach(term))
    mine = Attempt.objects.filter(free, pk=attempt.pk, outcome="").update(lease_until=lease_until()) == 1
    if not mine:
        yield False
        return
    try:
        with renewed([attempt]):
            yield True
    finally:
        # Ended now rather than taken away: from here the attempt's next delivery is counted.
        Attempt.objects.filter(pk=attempt.pk, outcome="").update(lease_until=timezone.now())
