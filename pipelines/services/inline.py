"""Short stages in the worker itself, under a lease that the worker renews."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.utils import timezone
from django.utils.translation import gettext as _

from environments.transports import TransportError
from pipelines.decide import RESEND_AFTER_S
from pipelines.kinds import InlineKind, Verdict, instant_names, kind_of
from pipelines.models import Attempt
from pipelines.services import finish
from pipelines.services.dispatch import Taker, hand_out
from pipelines.services.finish import Done
from pipelines.services.leases import LEASE_S, lease_until, renewed
from pipelines.services.params import params_of
from pipelines.states import Outcome, StageEvent, StageStatus
from pipelines.transitions import MovedMeanwhile, Step, moving
from platform_site.common import clock
from platform_site.common.errors import PlatformError
from platform_site.common.outages import PASSING, outage

logger = logging.getLogger(__name__)

LOST_TRIES: Final = 3
TAKE_S: Final = 0.5
"""How long a worker goes on with further stages of the queue before it looks at what else waits for it."""


def run_inline(attempt: Attempt, kind: InlineKind, *, worker: str) -> bool:
    """Run it here, once: the move to running is what one of many deliveries wins. True when this call ran it.

    Whoever ends a stage hands out the slot that came free, and goes on itself with what needs no other worker.
    """
    queue, taken = attempt.stage.queue, _begin(attempt, kind, worker)
    if not taken:
        return False
    until = time.monotonic() + TAKE_S
    while taken:
        done = _work(taken)
        free = bool(worker) and time.monotonic() < until
        taken = _turn(done, queue, Taker(queue, worker, partial(_holding, worker)) if free else None)
    return True


def _turn(done: Sequence[Done], queue: str, taker: Taker | None) -> list[Attempt]:
    """End what was done, and take what may start next, in one transaction: that costs as much as a short stage."""
    queued: set[str] = set()

    def end(kept: ExitStack) -> list[Attempt]:
        ended = finish.end_inline(done, kept)
        queued.update(ended.queued)
        return ended.ready

    try:
        taken = hand_out({queue}, taker, end).taken
    except Exception as error:
        # What is done ends, whatever is wrong with its neighbours or with what comes next.
        logger.info("Stages that were done end one by one: %s", error)
        taken, queued = [], {queue, *finish.end_each(done)}
    if others := queued - {queue} if taken else queued:
        hand_out(others)
    return taken


def _holding(worker: str) -> dict[str, Any]:
    """What stands in an attempt that runs in a worker."""
    return {"worker": worker, "started_at": timezone.now(), "lease_until": lease_until()}


def _begin(attempt: Attempt, kind: InlineKind, worker: str) -> list[Attempt]:
    """Move it to running, and with an instant one those that wait beside it; empty when somebody else has it."""
    try:
        with moving(attempt.stage.pipeline_id) as moves:
            begun = _beside(attempt) if kind.instant else [attempt]
            if attempt not in begun:
                return []
            # One transaction: a stage seen to run without its lease would be taken for lost, and run twice.
            held = _holding(worker)
            moves.attempts([one.pk for one in begun], **held)
            numbers = {one.stage_id: one.number for one in begun}
            moves.stages(numbers, Step(StageEvent.START, worker or "worker"))
    except MovedMeanwhile:
        return []
    for one in begun:
        for name, value in held.items():
            setattr(one, name, value)
    return begun


def _beside(attempt: Attempt) -> list[Attempt]:
    """What was sent off together with an instant stage. The messages of the others find them taken."""
    starting = Attempt.objects.filter(
        outcome="",
        stage__pipeline=attempt.stage.pipeline_id,
        stage__queue=attempt.stage.queue,
        stage__status=StageStatus.STARTING,
        stage__kind__in=instant_names(),
    )
    return list(starting.select_related("stage"))


def _work(attempts: Sequence[Attempt]) -> list[Done]:
    """Do what began, one after the other. While the database is away nothing can be said of a stage: it is left to its
    lease, and done again."""
    began = time.monotonic()
    done: list[Done] = []
    with renewed(attempts):
        for attempt in attempts:
            try:
                verdict = _verdict(attempt)
            except PASSING:
                logger.exception("Stage %s found no database", attempt.stage_id)
            else:
                # Counted by a clock that nobody sets, as a runner does.
                done.append(Done(attempt, verdict, time.monotonic() - began))
    return done


def _verdict(attempt: Attempt) -> Verdict:
    kind = kind_of(attempt.stage.kind)
    assert isinstance(kind, InlineKind), "nothing else is taken"
    try:
        return kind.run(attempt.stage, params_of(attempt.stage))
    except (PlatformError, TransportError) as error:
        return Verdict(False, str(error), retryable=isinstance(error, TransportError))
    except PASSING:
        raise
    except Exception as error:
        if away := outage(error):
            return Verdict(False, away.message, retryable=True)
        logger.exception("Stage %s failed in its worker", attempt.stage_id)
        return finish.unforeseen(error)


def observe(attempt: Attempt) -> bool:
    """Look at an attempt in a worker; True when it ended. A lease that was never taken counts as expired."""
    stage = attempt.stage
    held = not clock.is_over(attempt.lease_until, timedelta(seconds=LEASE_S))
    match StageStatus(stage.status):
        case StageStatus.STARTING:
            if attempt.sent_at is None or clock.age_s(attempt.sent_at) > RESEND_AFTER_S:
                return finish.resend(attempt)
            return False
        case StageStatus.RUNNING if not held:
            # Idempotent work: that its worker died says nothing against doing it again.
            reason = _("Its worker is gone.")
            if attempt.number < max(LOST_TRIES, stage.max_retries + 1):
                return finish.requeue(attempt, Outcome.LOST, Verdict(False, reason), {}, delay=timedelta(seconds=1))
            return finish.fail_or_retry(attempt, Verdict(False, reason), {}, lost=True)
        case StageStatus.CANCELLING if not held:
            return finish.cancelled(attempt, Verdict(False), {})
        case _:
            return False
