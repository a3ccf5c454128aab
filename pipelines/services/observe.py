"""Compare what should be with what is, and move it on. The heart of the platform.

Every function here may run anywhere, at the same time, twice, or after a long sleep: each effect is fenced by the
stage's status and the attempt's number, and each look begins anew from the database and the host.
"""

import logging
import secrets
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.models import Host
from environments.transports import Transport, TransportError, Unreachable, for_host
from monitoring.services.sync import SyncResult, sync_stream
from pipelines.decide import Decision, Seen, decide
from pipelines.kinds import Verdict, is_inline, runner_kind
from pipelines.models import Attempt
from pipelines.services import disk, finish, inline
from pipelines.services.dispatch import dispatch
from pipelines.services.progress import keep_progress
from pipelines.states import STAGE_ACTIVE, Outcome, StageStatus
from platform_site.common import clock
from platform_site.common.errors import Conflict
from platform_site.common.outages import outage

logger = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=30)
MAX_BACKOFF: Final = timedelta(seconds=60)
STOP_GRACE_S: Final = 15.0


def observe_host(host_id: int) -> int:
    """Look at every live attempt of a host, in one round trip; how many there were.

    One at a time a host: a lease in the database, so that a slow host cannot pile up observers. A host that does
    not answer is left alone for a growing while, and nothing on it is judged.
    """
    me = f"{socket.gethostname()[:40]}-{secrets.token_hex(8)}"
    if not _take_lease(host_id, me):
        return 0
    try:
        host = Host.objects.get(pk=host_id)
        attempts = list(open_attempts().filter(host=host))
        if attempts:
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
        return sync_stream(stage_id, for_host(attempt.host))
    except TransportError as error:
        raise Conflict(
            _("Host %(host)s cannot be read: %(error)s") % {"host": attempt.host.name, "error": error}
        ) from error


def open_attempts() -> QuerySet[Attempt]:
    return (
        Attempt.objects.select_related("stage", "host")
        .filter(outcome="", stage__status__in=STAGE_ACTIVE, host__isnull=False)
        .order_by("created_at")
    )


def _take_lease(host_id: int, me: str) -> bool:
    now = timezone.now()
    free = Q(observer_until=None) | Q(observer_until__lt=now) | Q(observer_until__gt=clock.out_of_reach(LEASE))
    due = Q(retry_at=None) | Q(retry_at__lte=now) | Q(retry_at__gt=clock.out_of_reach(MAX_BACKOFF))
    return Host.objects.filter(free, due, pk=host_id).update(observer=me, observer_until=now + LEASE) == 1


def _observe(host: Host, found: list[Attempt]) -> None:
    ended = False
    for attempt in found:
        if is_inline(attempt.stage.kind):
            ended |= inline.observe(attempt)
    attempts = [attempt for attempt in found if not is_inline(attempt.stage.kind)]
    if attempts:
        ended |= _observe_runners(host, attempts)
    if ended:
        dispatch()


def _observe_runners(host: Host, attempts: list[Attempt]) -> bool:
    """True when one of them ended. All are probed in one round trip."""
    transport = for_host(host)
    try:
        probes = transport.probe([attempt.folder for attempt in attempts])
    except Unreachable as error:
        _unreachable(host, error)
        return False
    if host.unreachable_since is not None or host.failures:
        Host.objects.filter(pk=host.pk).update(unreachable_since=None, retry_at=None, failures=0)
    ended = False
    for attempt, probe in zip(attempts, probes, strict=True):
        try:
            ended |= _settle(attempt, probe, transport)
        except Unreachable as error:
            _unreachable(host, error)
            return ended
        except Exception:
            # One broken run must not keep the others of its host from being seen.
            logger.exception("Observing %s failed", attempt.folder)
    return ended


def _unreachable(host: Host, error: Unreachable) -> None:
    logger.warning("Host %s does not answer: %s", host.name, error)
    now = timezone.now()
    wait = min(MAX_BACKOFF, timedelta(seconds=2.0 ** min(host.failures, 10)))
    Host.objects.filter(pk=host.pk).update(
        unreachable_since=host.unreachable_since or now,
        failures=host.failures + 1,
        retry_at=now + wait,
    )


def _settle(attempt: Attempt, probe: dict[str, Any], transport: Transport) -> bool:
    """Carry out what `decide` says about one attempt; True when it ended."""
    stage = attempt.stage
    if probe.get("process") is not None or probe.get("runner_alive"):
        _read(attempt, transport)
        if not runner_kind(stage.kind).has_stream:
            keep_progress(attempt, probe)
    decision = decide(StageStatus(stage.status), _seen(attempt, probe))
    match decision:
        case Decision.NOTHING:
            return False
        case Decision.RESEND:
            return finish.resend(attempt)
        case Decision.STARTED:
            finish.started(attempt, probe)
            return False
        case Decision.STOP:
            return _stop(attempt, transport)
        case Decision.REVOKE:
            return _revoke(attempt, transport)
        case Decision.KILL:
            return _kept(_kill, attempt, probe, transport)
        case Decision.LOST:
            return _kept(_lost, attempt, probe, transport)
        case Decision.FROZEN:
            return _kept(_frozen, attempt, probe, transport)
        case Decision.FINISHED:
            return _kept(_finished, attempt, probe, transport)


def _read(attempt: Attempt, transport: Transport) -> None:
    """Take in what is new. What cannot be read must not keep a run from ending: it is judged by what was."""
    try:
        runner_kind(attempt.stage.kind).observe(attempt.stage, attempt, transport)
    except (Unreachable, DatabaseError):
        raise  # it passes, and the next look reads on
    except Exception:
        logger.exception("Reading %s failed", attempt.folder)


def _judge(attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
    """The kind's verdict. Where what the run left cannot even be looked at, it failed, rather than to run for ever."""
    try:
        return runner_kind(attempt.stage.kind).judge(attempt.stage, attempt, exit_info, transport)
    except (Unreachable, DatabaseError):
        raise  # it passes, and the next look judges
    except Exception as error:
        logger.exception("Judging %s failed", attempt.folder)
        if away := outage(error):  # what it made found no room
            return Verdict(False, away.message, retryable=True)
        return Verdict(False, _("The run ended, but what it left cannot be read: %(error)s") % {"error": error})


def _kept(
    end: Callable[[Attempt, dict[str, Any], Transport], bool],
    attempt: Attempt,
    probe: dict[str, Any],
    transport: Transport,
) -> bool:
    """End an attempt. Where what its kind makes of the end cannot be kept, it failed, rather than to run for ever."""
    try:
        return end(attempt, probe, transport)
    except (Unreachable, DatabaseError):
        raise  # it passes, and the next look ends it
    except Exception as error:
        logger.exception("The end of %s cannot be kept", attempt.folder)
        if attempt.stage.status == StageStatus.CANCELLING:
            return finish.cancelled(attempt, Verdict(False), probe)
        why = _("The run ended, but what it left cannot be kept: %(error)s") % {"error": error}
        return finish.fail_or_retry(attempt, Verdict(False, why), probe)


def _age(moment: datetime | None) -> float | None:
    return None if moment is None else clock.age_s(moment)


def _seen(attempt: Attempt, probe: dict[str, Any]) -> Seen:
    elapsed = probe.get("elapsed_s")
    return Seen.from_probe(
        probe,
        since_sent_s=_age(attempt.sent_at),
        since_stop_s=_age(attempt.stop_sent_at),
        # By the host's own steady clock: ours may have been set meanwhile.
        running_s=_age(attempt.started_at) if elapsed is None else float(elapsed),
        status_age_s=_age(attempt.stage.changed_at) or 0.0,
        timeout_s=attempt.stage.timeout_s,
        stop_grace_s=STOP_GRACE_S,
        frozen_after_s=settings.FROZEN_AFTER_S or None,
    )


def _stop(attempt: Attempt, transport: Transport) -> bool:
    """End a run that has to: it was cancelled, or its time is over. `reason` keeps why."""
    if attempt.stage.status == StageStatus.RUNNING and not attempt.reason:
        reason = _("It ran longer than its timeout of %(timeout)s s.") % {"timeout": attempt.stage.timeout_s}
        Attempt.objects.filter(pk=attempt.pk, outcome="").update(reason=reason)
    transport.stop(attempt.folder)
    Attempt.objects.filter(pk=attempt.pk, stop_sent_at=None).update(stop_sent_at=timezone.now())
    return False


def _revoke(attempt: Attempt, transport: Transport) -> bool:
    if not finish.revoke(attempt, transport):
        return False
    if attempt.stage.status == StageStatus.CANCELLING:
        return finish.cancel_unstarted(attempt, actor=finish.OBSERVER)
    return finish.requeue(
        attempt,
        Outcome.LOST,
        Verdict(False, _("No worker picked the stage up in time.")),
        {},
        delay=timedelta(seconds=1),
    )


def _kill(attempt: Attempt, probe: dict[str, Any], transport: Transport) -> bool:
    survivors = transport.kill(attempt.folder)
    if survivors:
        logger.error("Processes %s of %s cannot be ended", survivors, attempt.folder)
        return False
    return _over_without_exit(attempt, probe, transport, _("It had to be ended by force."), lost=False)


def _lost(attempt: Attempt, probe: dict[str, Any], transport: Transport) -> bool:
    """The runner is gone and left no word."""
    reason = _(
        "The run was lost: its process is gone without an exit record (the machine was restarted, or it was killed)."
    )
    return _given_up(attempt, probe, transport, reason)


def _frozen(attempt: Attempt, probe: dict[str, Any], transport: Transport) -> bool:
    """Somebody stopped the run's process with a signal and never continued it."""
    reason = _("The run was lost: its process was frozen (stopped by a signal) for %(seconds)d s.") % {
        "seconds": probe["frozen_s"]
    }
    return _given_up(attempt, probe, transport, reason)


def _given_up(attempt: Attempt, probe: dict[str, Any], transport: Transport, reason: str) -> bool:
    """Nothing more will come of it. Whatever it started is ended before anything else may start."""
    survivors = transport.kill(attempt.folder)
    if survivors:
        logger.error("Processes %s of %s cannot be ended", survivors, attempt.folder)
        return False
    again = transport.probe([attempt.folder])[0]
    if again.get("exit") is not None:
        return _finished(attempt, again, transport)
    return _over_without_exit(attempt, probe, transport, reason, lost=True)


def _over_without_exit(
    attempt: Attempt, probe: dict[str, Any], transport: Transport, reason: str, *, lost: bool
) -> bool:
    _read(attempt, transport)
    judged = _judge(attempt, {"code": None, "signal": 9}, transport)
    verdict = Verdict(False, attempt.reason or reason, retryable=not attempt.reason, result=judged.result)
    verdict = disk.named(verdict, attempt, probe.get("disk_free"))
    if attempt.stage.status == StageStatus.CANCELLING:
        return finish.cancelled(attempt, Verdict(False, "", result=judged.result), probe)
    return finish.fail_or_retry(attempt, verdict, probe, lost=lost)


def _finished(attempt: Attempt, probe: dict[str, Any], transport: Transport) -> bool:
    # Once more after the exit record was there: what is read now is all there will ever be.
    _read(attempt, transport)
    verdict = _judge(attempt, probe["exit"], transport)
    if verdict.complete:
        return finish.complete(attempt, verdict, probe)
    if attempt.stage.status == StageStatus.CANCELLING:
        return finish.cancelled(attempt, Verdict(False, "", result=verdict.result), probe)
    if attempt.reason:
        verdict = Verdict(False, attempt.reason, retryable=False, result=verdict.result)
    return finish.fail_or_retry(attempt, disk.named(verdict, attempt, probe["exit"].get("disk_free")), probe)
