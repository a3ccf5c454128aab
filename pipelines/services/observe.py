"""Compare what should be with what is, and move it on. The heart of the platform.

Every function here may run anywhere, at the same time, twice, or after a long sleep: each effect is fenced by the
stage's status and the attempt's number, and each look begins anew from the database and the host.
"""

import logging
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.models import Host
from environments.services import reach
from environments.transports import Tail, TransportError, Unreachable, for_host
from monitoring.models import Segment
from monitoring.services.diagnose import behind, refresh
from monitoring.services.sync import SyncResult, sync_stream
from pipelines.kinds import is_inline
from pipelines.models import Attempt
from pipelines.services import inline, reading, silent
from pipelines.services.dispatch import dispatch
from pipelines.services.doctor import sentences
from pipelines.services.settle import settle
from pipelines.states import STAGE_ACTIVE
from platform_site.common import clock
from platform_site.common.errors import Conflict, NotFound

logger = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=30)


def observe_host(host_id: int) -> int:
    """Look at every live attempt of a host, in one round trip; how many there were.

    One at a time a host: a lease in the database, so that a slow host cannot pile up observers. A host that does
    not answer is left alone for a growing while, and nothing on it is judged. One that nothing runs on is asked whether
    it answers when that is due.
    """
    me = f"{socket.gethostname()[:40]}-{secrets.token_hex(8)}"
    if not _take_lease(host_id, me):
        return 0
    try:
        host = Host.objects.get(pk=host_id)
        attempts = list(open_attempts().filter(host=host))
        if attempts or reach.is_due(host):
            _observe(host, attempts)
        return len(attempts)
    finally:
        Host.objects.filter(pk=host_id, observer=me).update(observer="", observer_until=None)


def observe_stages(stage_ids: Iterable[UUID]) -> int:
    """Look at these stages now: what the watcher asks for when their files change. Takes no lease."""
    attempts = list(open_attempts().filter(stage_id__in=list(stage_ids), host__isnull=False))
    by_host: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        assert attempt.host_id is not None
        by_host.setdefault(attempt.host_id, []).append(attempt)
    for found in by_host.values():
        host = found[0].host
        assert host is not None
        _observe(host, found)
    return len(attempts)


def sync_now(stage_id: UUID) -> SyncResult:
    """Read what is new of a run on demand. Raises Conflict before its first start or when its host is away."""
    attempt = (
        Attempt.objects.select_related("host").filter(stage_id=stage_id, host__isnull=False).order_by("-number").first()
    )
    if attempt is None or attempt.host is None:
        raise Conflict(_("The run has not started yet: there is nothing to read."))
    try:
        found = sync_stream(stage_id, for_host(attempt.host))
        refresh(stage_id)
        return found
    except TransportError as error:
        raise Conflict(
            _("Host %(host)s cannot be read: %(error)s") % {"host": attempt.host.name, "error": error}
        ) from error


def open_attempts() -> QuerySet[Attempt]:
    return (
        Attempt.objects.select_related("stage__job__stream", "host")
        .prefetch_related(Prefetch("stage__job__stream__segments", Segment.objects.select_related("system")))
        .filter(outcome="", stage__status__in=STAGE_ACTIVE, host__isnull=False)
        .order_by("created_at")
    )


def _take_lease(host_id: int, me: str) -> bool:
    taken = Host.objects.filter(ready(), pk=host_id)
    return taken.update(observer=me, observer_until=timezone.now() + LEASE) == 1


def ready() -> Q:
    """Hosts that nobody looks at just now, and whose pause is over."""
    now = timezone.now()
    free = Q(observer_until=None) | Q(observer_until__lt=now) | Q(observer_until__gt=clock.out_of_reach(LEASE))
    due = Q(retry_at=None) | Q(retry_at__lte=now) | Q(retry_at__gt=clock.out_of_reach(reach.MAX_BACKOFF))
    return free & due


def _observe(host: Host, found: list[Attempt]) -> None:
    ended = False
    for attempt in found:
        if is_inline(attempt.stage.kind):
            ended |= inline.observe(attempt)
    attempts = [attempt for attempt in found if not is_inline(attempt.stage.kind)]
    if attempts or reach.is_due(host):
        ended |= _observe_runners(host, attempts)
    if ended:
        dispatch()


def _observe_runners(host: Host, attempts: list[Attempt]) -> bool:
    """True when one of them ended. All are probed in one round trip, and what is new of all comes in a second; without
    any it asks whether the host answers."""
    transport = for_host(host)
    try:
        probes = transport.probe([attempt.folder for attempt in attempts])
    except Unreachable as error:
        return reach.lost(host, error) and silent.look(host, attempts)
    try:
        # First of all: what was given up must not meet what comes after it.
        silent.answers_again(host, attempts, transport)
    except Unreachable as error:
        reach.lost(host, error)
        return False
    ended = reach.found(host)
    read: list[tuple[Attempt, dict[str, Any]]] = []
    new: list[SyncResult] = []
    try:
        # First what is new of all, then what the doctor makes of it: that is asked once for a host.
        with transport.ahead(_wanted(attempts, probes)):
            for attempt, probe in zip(attempts, probes, strict=True):
                with _by_itself(attempt):
                    new.append(reading.look(attempt, probe, transport))
                    read.append((attempt, probe))
        reading.sum_up(host, new)
        by_stream = {attempt.stage_id: attempt for attempt, _probe in read}
        for stream_id in behind(by_stream):
            with _by_itself(by_stream[stream_id]):
                refresh(stream_id)
        judged = sentences([attempt for attempt, _probe in read])
        for attempt, probe in read:
            with _by_itself(attempt):
                ended |= settle(attempt, probe, transport, judged.get(attempt.pk))
    except Unreachable as error:
        reach.lost(host, error)
    return ended


def _wanted(attempts: list[Attempt], probes: list[dict[str, Any]]) -> list[Tail]:
    """What the look at them will ask the host for, whatever one of them is like."""
    asked: list[Tail] = []
    for attempt, probe in zip(attempts, probes, strict=True):
        with _by_itself(attempt):
            asked += reading.ahead(attempt, probe)
    return asked


@contextmanager
def _by_itself(attempt: Attempt) -> Iterator[None]:
    """One broken run must not keep the others of its host from being seen."""
    try:
        yield
    except Unreachable:
        raise
    except NotFound:
        logger.info("%s was deleted while it was looked at", attempt.folder)
    except Exception:
        logger.exception("Observing %s failed", attempt.folder)
