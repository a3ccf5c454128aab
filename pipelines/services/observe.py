"""Compare what should be with what is, and move it on. The heart of the platform.

Every function here may run anywhere, at the same time, twice, or after a long sleep: each effect is fenced by the
stage's status and the attempt's number, and each look begins anew from the database and the host.
"""

import logging
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.models import Host
from environments.services import reach
from environments.transports import Transport, TransportError, Unreachable, for_host
from monitoring.services.diagnose import behind, refresh
from monitoring.services.sync import SyncResult, sync_stream
from pipelines.decide import Decision, Seen, decide
from pipelines.kinds import Verdict, is_inline, runner_kind
from pipelines.models import Attempt
from pipelines.services import disk, finish, inline, stall
from pipelines.services.dispatch import dispatch
from pipelines.services.doctor import Sentence, sentence, sentences
from pipelines.services.leases import LEASE_S
from pipelines.services.progress import keep_progress
from pipelines.states import STAGE_ACTIVE, Outcome, StageStatus
from platform_site.common import clock
from platform_site.common.errors import Conflict
from platform_site.common.outages import outage

logger = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=30)
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
        if attempts or host.unreachable_since is not None:
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
        .filter(outcome="", stage__status__in=STAGE_ACTIVE, host__isnull=False)
        .order_by("created_at")
    )


def _take_lease(host_id: int, me: str) -> bool:
    now = timezone.now()
    free = Q(observer_until=None) | Q(observer_until__lt=now) | Q(observer_until__gt=clock.out_of_reach(LEASE))
    due = Q(retry_at=None) | Q(retry_at__lte=now) | Q(retry_at__gt=clock.out_of_reach(reach.MAX_BACKOFF))
    return Host.objects.filter(free, due, pk=host_id).update(observer=me, observer_until=now + LEASE) == 1


def _observe(host: Host, found: list[Attempt]) -> None:
    ended = False
    for attempt in found:
        if is_inline(attempt.stage.kind):
            ended |= inline.observe(attempt)
    attempts = [attempt for attempt in found if not is_inline(attempt.stage.kind)]
    if attempts or host.unreachable_since is not None:
        ended |= _observe_runners(host, attempts)
    if ended:
        dispatch()


def _observe_runners(host: Host, attempts: list[Attempt]) -> bool:
    """True when one of them ended. All are probed in one round trip; without any it asks whether the host answers."""
    transport = for_host(host)
    try:
        probes = transport.probe([attempt.folder for attempt in attempts])
    except Unreachable as error:
        reach.lost(host, error)
        return _give_up(host, attempts)
    ended = reach.found(host)
    read: list[tuple[Attempt, dict[str, Any]]] = []
    try:
        # First what is new of all, then what the doctor makes of it: that is asked once for a host.
        for attempt, probe in zip(attempts, probes, strict=True):
            with _by_itself(attempt):
                _look(attempt, probe, transport)
                read.append((attempt, probe))
        for stream_id in behind([attempt.stage_id for attempt, _probe in read]):
            refresh(stream_id)
        judged = sentences([attempt for attempt, _probe in read])
        for attempt, probe in read:
            with _by_itself(attempt):
                ended |= _settle(attempt, probe, transport, judged.get(attempt.pk))
    except Unreachable as error:
        reach.lost(host, error)
    return ended


@contextmanager
def _by_itself(attempt: Attempt) -> Iterator[None]:
    """One broken run must not keep the others of its host from being seen."""
    try:
        yield
    except Unreachable:
        raise
    except Exception:
        logger.exception("Observing %s failed", attempt.folder)


def _give_up(host: Host, attempts: list[Attempt]) -> bool:
    """What runs on a host that has kept silent for longer than the grace is lost; True when anything was.

    Should it live on there, it is ended when the host is back (`integrity_runs.orphans`).
    """
    grace = settings.UNREACHABLE_GRACE_S
    silent_s = clock.age_s(host.unreachable_since) if host.unreachable_since is not None else 0.0
    if not grace or silent_s < grace:
        return False
    reason = _("The run was lost: host %(host)s has not answered for %(minutes)d min.") % {
        "host": host.name,
        "minutes": silent_s // 60,
    }
    for attempt in attempts:
        if attempt.stage.status == StageStatus.CANCELLING:
            finish.cancelled(attempt, Verdict(False), {})
        else:
            finish.fail_or_retry(attempt, Verdict(False, attempt.reason or reason, not attempt.reason), {}, lost=True)
    return bool(attempts)


def _look(attempt: Attempt, probe: dict[str, Any], transport: Transport) -> None:
    """Take in what is new of one attempt."""
    if probe.get("process") is None and not probe.get("runner_alive"):
        return
    _read(attempt, transport)
    if runner_kind(attempt.stage.kind).has_stream:
        stall.look(attempt, transport)
    else:
        keep_progress(attempt, probe)


def _settle(attempt: Attempt, probe: dict[str, Any], transport: Transport, judged: Sentence | None) -> bool:
    """Carry out what `decide` says about one attempt; True when it ended."""
    stage = attempt.stage
    if judged is not None and judged.again and stage.status == StageStatus.RUNNING and probe.get("exit") is None:
        return _given_up(attempt, probe, transport, judged.reason)
    decision = decide(StageStatus(stage.status), _seen(attempt, probe, condemned=judged is not None and judged.stop))
    match decision:
        case Decision.NOTHING:
            return False
        case Decision.RESEND:
            return finish.resend(attempt)
        case Decision.STARTED:
            finish.started(attempt, probe)
            return False
        case Decision.STOP:
            return _stop(attempt, transport, judged)
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


def _read_out(attempt: Attempt, transport: Transport) -> None:
    """Take in all that an attempt left: no look follows."""
    _read(attempt, transport)
    refresh(attempt.stage_id)


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


def _seen(attempt: Attempt, probe: dict[str, Any], *, condemned: bool) -> Seen:
    elapsed = probe.get("elapsed_s")
    return Seen.from_probe(
        probe,
        since_sent_s=_age(attempt.sent_at),
        since_stop_s=_age(attempt.stop_sent_at),
        # By the host's own steady clock: ours may have been set meanwhile.
        running_s=_age(attempt.started_at) if elapsed is None else float(elapsed),
        # Bringing its inputs there in several goes is no delay.
        status_age_s=min(
            (age for age in (_age(attempt.stage.changed_at), _age(attempt.lease_until)) if age is not None), default=0.0
        ),
        preparing=not clock.is_over(attempt.lease_until, timedelta(seconds=LEASE_S)),
        timeout_s=attempt.stage.timeout_s,
        stop_grace_s=STOP_GRACE_S,
        frozen_after_s=settings.FROZEN_AFTER_S or None,
        condemned=condemned,
    )


def _stop(attempt: Attempt, transport: Transport, judged: Sentence | None) -> bool:
    """End a run that has to: it was cancelled, the doctor found what nothing repairs, or its time is over. `reason`
    keeps why."""
    if attempt.stage.status == StageStatus.RUNNING and not attempt.reason:
        reason = _("It ran longer than its timeout of %(timeout)s s.") % {"timeout": attempt.stage.timeout_s}
        if judged is not None and judged.stop:
            reason = judged.reason
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
    _read_out(attempt, transport)
    judged = _judge(attempt, {"code": None, "signal": 9}, transport)
    final = attempt.reason or _final_reason(attempt)
    verdict = Verdict(False, final or reason, retryable=not final, result=judged.result)
    verdict = disk.named(verdict, attempt, probe.get("disk_free"))
    if attempt.stage.status == StageStatus.CANCELLING:
        return finish.cancelled(attempt, Verdict(False, "", result=judged.result), probe)
    return finish.fail_or_retry(attempt, verdict, probe, lost=lost)


def _final_reason(attempt: Attempt) -> str:
    """Why the attempt has failed for good, whatever its process says; empty where the doctor says nothing."""
    judged = sentence(attempt)
    return judged.reason if judged is not None and not judged.again else ""


def _finished(attempt: Attempt, probe: dict[str, Any], transport: Transport) -> bool:
    # Once more after the exit record was there: what is read now is all there will ever be.
    _read_out(attempt, transport)
    verdict = _judge(attempt, probe["exit"], transport)
    final = _final_reason(attempt)
    if verdict.complete and not final:
        return finish.complete(attempt, verdict, probe)
    if attempt.stage.status == StageStatus.CANCELLING:
        return finish.cancelled(attempt, Verdict(False, "", result=verdict.result), probe)
    final = attempt.reason or final
    if final:
        verdict = Verdict(False, final, retryable=False, result=verdict.result)
    return finish.fail_or_retry(attempt, disk.named(verdict, attempt, probe["exit"].get("disk_free")), probe)
