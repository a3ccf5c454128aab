"""Carry out what `decide` says of an attempt, and end those that ended."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.transports import Transport, TransportError, Unreachable
from pipelines.decide import Decision, Seen, decide
from pipelines.kinds import Verdict, runner_kind
from pipelines.models import Attempt
from pipelines.services import disk, finish
from pipelines.services.doctor import Sentence, sentence
from pipelines.services.leases import LEASE_S
from pipelines.services.reading import read_out
from pipelines.states import Outcome, StageStatus
from platform_site.common import clock
from platform_site.common.outages import PASSING, outage

logger = logging.getLogger(__name__)

STOP_GRACE_S: Final = 15.0


def settle(attempt: Attempt, probe: dict[str, Any], transport: Transport, judged: Sentence | None) -> bool:
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


def _judge(attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
    """The kind's verdict. Where what the run left cannot even be looked at, it failed, rather than to run for ever."""
    try:
        return runner_kind(attempt.stage.kind).judge(attempt.stage, attempt, exit_info, transport)
    except (Unreachable, *PASSING):
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
    except (Unreachable, *PASSING):
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
    try:
        transport.stop(attempt.folder)
    except Unreachable:
        raise
    except TransportError as error:
        logger.warning("%s cannot be asked to stop: %s", attempt.folder, error)  # it is ended by force in time
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
    if not _is_killed(attempt, transport):
        return False
    return _over_without_exit(attempt, probe, transport, _("It had to be ended by force."), lost=False)


def _is_killed(attempt: Attempt, transport: Transport) -> bool:
    """Whether nothing of it lives on. Where that is not certain it has not ended: another try would run beside it."""
    try:
        survivors = transport.kill(attempt.folder)
    except Unreachable:
        raise
    except TransportError as error:
        logger.error("What runs of %s cannot be ended: %s", attempt.folder, error)
        return False
    if survivors:
        logger.error("Processes %s of %s cannot be ended", survivors, attempt.folder)
    return not survivors


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
    if not _is_killed(attempt, transport):
        return False
    again = transport.probe([attempt.folder])[0]
    if again.get("exit") is not None:
        return _finished(attempt, again, transport)
    return _over_without_exit(attempt, probe, transport, reason, lost=True)


def _over_without_exit(
    attempt: Attempt, probe: dict[str, Any], transport: Transport, reason: str, *, lost: bool
) -> bool:
    read_out(attempt, transport)
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
    read_out(attempt, transport)
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
