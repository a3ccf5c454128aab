"""End attempts: the move, the attempt's own record and what belongs to its kind, in one transaction."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.translation import gettext as _

from environments.transports import Transport, TransportError, Unreachable
from pipelines.folders import run_folder
from pipelines.kinds import Verdict, kind_of
from pipelines.messages import send_launch
from pipelines.models import Attempt, Stage
from pipelines.services import gpu_leases
from pipelines.services.advance import advance, go_on, new_attempt
from pipelines.services.dispatch import requeue_at
from pipelines.states import Outcome, StageEvent, StageStatus
from pipelines.transitions import Moves, Step, moving
from platform_runtime.contract import Claim
from platform_runtime.message import ContractError
from platform_site.common.outages import PASSING

logger = logging.getLogger(__name__)

OBSERVER = "observer"


@dataclass(frozen=True)
class Times:
    """When an attempt ran, on the platform's clock."""

    started_at: datetime | None
    completed_at: datetime

    @property
    def seconds(self) -> float:
        """How long it ran; 0 when it never began."""
        return 0.0 if self.started_at is None else (self.completed_at - self.started_at).total_seconds()


def times_of(probe: dict[str, Any], attempt: Attempt) -> Times:
    """True times from the runner's record, moved by the difference between the host's clock and ours.

    The end is the start plus the elapsed seconds that the runner counted on a monotonic clock, also where that lies
    ahead of us: our clock was set back since, and the start lies ahead as well. Of a run that was ended by force
    they are the seconds to the last look at it.
    """
    now = timezone.now()
    skew = now.timestamp() - float(probe.get("now") or now.timestamp())
    info, process = probe.get("exit") or {}, probe.get("process") or {}
    begun = info.get("started_at") or process.get("started_at")
    started = attempt.started_at or (_at(float(begun) + skew) if begun else None)
    if started is None:
        return Times(None, now)
    elapsed = info.get("elapsed_s", probe.get("elapsed_s"))
    completed = started + timedelta(seconds=float(elapsed)) if elapsed is not None else now
    return Times(started, max(started + timedelta(milliseconds=1), completed))


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, tz=UTC)


def resend(attempt: Attempt) -> bool:
    """Send the same attempt's message again; whoever updates `sent_at` first sends. Nothing has ended: False."""
    if Attempt.objects.filter(pk=attempt.pk, sent_at=attempt.sent_at, outcome="").update(sent_at=timezone.now()):
        send_launch(attempt.pk, attempt.stage.queue)
    return False


def complete(attempt: Attempt, verdict: Verdict, probe: dict[str, Any]) -> bool:
    """The run did what it was asked to."""
    return _end(
        attempt,
        StageEvent.COMPLETE,
        Outcome.SUCCEEDED,
        verdict,
        probe,
        result=verdict.result,
        error_message="",
    )


def cancelled(attempt: Attempt, verdict: Verdict, probe: dict[str, Any]) -> bool:
    return _end(attempt, StageEvent.CANCEL, Outcome.CANCELLED, verdict, probe, result=verdict.result or None)


def fail_or_retry(attempt: Attempt, verdict: Verdict, probe: dict[str, Any], *, lost: bool = False) -> bool:
    """Try again when that could help and a try is left; else fail for good."""
    outcome = Outcome.LOST if lost else Outcome.FAILED
    stage = attempt.stage
    if verdict.retryable and attempt.number <= stage.max_retries:
        return requeue(attempt, outcome, verdict, probe, delay=requeue_at(attempt.number))
    return _end(
        attempt,
        StageEvent.FAIL,
        outcome,
        verdict,
        probe,
        result=verdict.result or None,
        error_message=verdict.reason,
    )


def unforeseen(error: Exception) -> Verdict:
    """Of work that broke in a way that nobody foresaw: its stage says how. Nobody knows whether that passes."""
    told = f"{type(error).__name__}: {error}"[:1000]
    return Verdict(False, _("It broke in its worker: %(error)s") % {"error": told}, retryable=True)


@dataclass(frozen=True)
class Done:
    """What a worker did itself: how it came out, after how many seconds since it took it."""

    attempt: Attempt
    verdict: Verdict
    elapsed_s: float


class Ended(NamedTuple):
    """What short stages leave behind that ended together: tries at what became ready, which are not queued yet, and
    the queues in which something may start now."""

    ready: list[Attempt]
    queued: set[str]


def end_inline(done: Sequence[Done], kept: ExitStack) -> Ended:
    """End short stages; those that completed alike together.

    The blocks of moves are left to `kept`, which closes them: what is taken next often belongs to the same pipeline.
    Raises MovedMeanwhile when one was cancelled while it ran, or found lost: nothing has ended then.
    """
    ended = Ended([], set())
    for pipeline_id, parts in _grouped(done, lambda one: one.attempt.stage.pipeline_id):
        moves = kept.enter_context(moving(pipeline_id))
        complete_ones = [one for one in parts if one.verdict.complete]
        for _result, alike in _grouped(complete_ones, lambda one: repr(one.verdict.result)):
            _complete_together(moves, alike)
        for one in parts:
            if not one.verdict.complete:
                fail_or_retry(one.attempt, one.verdict, {"elapsed_s": one.elapsed_s})
        if complete_ones:
            ended.ready.extend(go_on(moves, actor=OBSERVER, ended=[one.attempt.stage_id for one in complete_ones]))
        ended.queued.update(moves.queued)
    return ended


def end_each(done: Sequence[Done]) -> set[str]:
    """The same one by one, each as its stage stands by now."""
    queued: set[str] = set()
    for one in done:
        try:
            queued |= _end_alone(one)
        except PASSING:
            raise  # it passes: the stage is left to its lease, and done again
        except Exception as error:
            logger.exception("Stage %s cannot keep its result", one.attempt.stage_id)
            queued |= _end_alone(replace(one, verdict=unforeseen(error)))
    return queued


def _end_alone(one: Done) -> set[str]:
    with moving(one.attempt.stage.pipeline_id) as moves:
        end = complete if one.verdict.complete else fail_or_retry
        end(one.attempt, one.verdict, {"elapsed_s": one.elapsed_s})
    return moves.queued


def _grouped(done: Iterable[Done], key: Callable[[Done], Any]) -> list[tuple[Any, list[Done]]]:
    found: dict[Any, list[Done]] = defaultdict(list)
    for one in done:
        found[key(one)].append(one)
    return list(found.items())


def _complete_together(moves: Moves, done: Sequence[Done]) -> None:
    last = max(done, key=lambda one: one.elapsed_s)
    verdict, times = last.verdict, times_of({"elapsed_s": last.elapsed_s}, last.attempt)
    moves.attempts(
        [one.attempt.pk for one in done],
        outcome=Outcome.SUCCEEDED,
        reason=verdict.reason,
        completed_at=times.completed_at,
    )
    moves.stages(
        {one.attempt.stage_id: one.attempt.number for one in done},
        Step(StageEvent.COMPLETE, OBSERVER, verdict.reason),
        before=StageStatus.RUNNING,
        completed_at=times.completed_at,
        result=verdict.result,
        error_message="",
    )
    for one in done:
        if one.verdict.result:
            kind_of(one.attempt.stage.kind).settle(one.attempt.stage, one.attempt, one.verdict)


def requeue(attempt: Attempt, outcome: Outcome, verdict: Verdict, probe: dict[str, Any], *, delay: timedelta) -> bool:
    """Close this attempt and queue the next, not before `delay` has passed."""
    with moving(attempt.stage.pipeline_id) as moves:
        moved = moves.stage(
            attempt.stage_id,
            StageEvent.REQUEUE,
            actor=OBSERVER,
            reason=verdict.reason,
            attempt=attempt.number,
            not_before=timezone.now() + delay,
        )
        if not moved:
            return False
        _close(attempt, outcome, verdict.reason, probe)
        kind_of(attempt.stage.kind).settle(attempt.stage, attempt, verdict)
        new_attempt(attempt.stage_id)
    return True


def give_back(attempt: Attempt, reason: str) -> bool:
    """Back to its queue, unless it was offered to its host meanwhile: whoever does that writes it down before."""
    with moving(attempt.stage.pipeline_id):
        mine = Attempt.objects.select_for_update().filter(pk=attempt.pk, outcome="", offered_at=None)
        if mine.first() is None:
            return False
        return requeue(attempt, Outcome.LOST, Verdict(False, reason), {}, delay=timedelta(seconds=1))


def end_unstarted(attempt: Attempt, transport: Transport, *, reason: str) -> bool:
    """The launch failed before a process was there: make sure that none comes, then fail."""
    try:
        revoked = revoke(attempt, transport)
    except TransportError as error:
        # Where not even a claim can be written, no runner can claim either.
        logger.warning("The claim of %s cannot be revoked: %s", attempt.folder, error)
        revoked = True
    return revoked and fail_or_retry(attempt, Verdict(False, reason), {})


def revoke(attempt: Attempt, transport: Transport) -> bool:
    """Take the claim so that no runner can; False when a runner has it already."""
    folder = run_folder(attempt)
    if transport.create_exclusive(folder.claim, Claim.revoked().to_bytes()):
        return True
    try:
        return Claim.from_bytes(transport.read(folder.claim)).owner == "revoked"
    except Unreachable:
        raise
    except (TransportError, OSError, ContractError) as error:
        # Nobody can say whose it is. No runner can take it any more; one that had it loses what it started.
        logger.warning("The claim of %s cannot be read: %s", attempt.folder, error)
        return not transport.kill(attempt.folder)


def cancel_unstarted(attempt: Attempt, *, actor: str) -> bool:
    """The stage was cancelled before anything ran."""
    return _end(attempt, StageEvent.CANCEL, Outcome.CANCELLED, Verdict(False), {}, actor=actor)


def _end(
    attempt: Attempt,
    event: StageEvent,
    outcome: Outcome,
    verdict: Verdict,
    probe: dict[str, Any],
    *,
    actor: str = OBSERVER,
    **fields: Any,
) -> bool:
    times = times_of(probe, attempt)
    if times.started_at is not None and event is not StageEvent.CANCEL:
        fields.setdefault("started_at", _first_start(attempt.stage, times.started_at))
    with moving(attempt.stage.pipeline_id) as moves:
        moved = moves.stage(
            attempt.stage_id,
            event,
            actor=actor,
            reason=verdict.reason,
            attempt=attempt.number,
            completed_at=times.completed_at,
            **fields,
        )
        if not moved:
            return False
        _close(attempt, outcome, verdict.reason, probe)
        if verdict.result:
            kind_of(attempt.stage.kind).settle(attempt.stage, attempt, verdict)
        advance(attempt.stage.pipeline_id, actor=actor, ended=[attempt.stage_id])
    return True


def _first_start(stage: Stage, started: datetime) -> datetime:
    return min(stage.started_at, started) if stage.started_at else started


def _close(attempt: Attempt, outcome: Outcome, reason: str, probe: dict[str, Any]) -> None:
    times = times_of(probe, attempt)
    Attempt.objects.filter(pk=attempt.pk, outcome="").update(
        outcome=outcome,
        reason=reason,
        started_at=times.started_at,
        completed_at=times.completed_at,
        exit_code=(probe.get("exit") or {}).get("code"),
        handle=probe.get("process") or attempt.handle,
    )
    if attempt.gpus:
        gpu_leases.release([attempt.pk], times.seconds)


def started(attempt: Attempt, probe: dict[str, Any]) -> bool:
    """A process is seen: the stage runs."""
    began = times_of(probe, attempt).started_at or timezone.now()
    with moving(attempt.stage.pipeline_id) as moves:
        moved = moves.stage(
            attempt.stage_id,
            StageEvent.START,
            actor=OBSERVER,
            attempt=attempt.number,
            started_at=_first_start(attempt.stage, began),
        )
        if moved:
            Attempt.objects.filter(pk=attempt.pk).update(started_at=began, handle=probe.get("process"))
    return moved
