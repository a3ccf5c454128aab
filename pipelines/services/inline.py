"""Short stages in the worker itself, under a lease that the worker renews."""

import time
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.utils import timezone
from django.utils.translation import gettext as _

from environments.transports import TransportError
from pipelines.decide import RESEND_AFTER_S
from pipelines.kinds import InlineKind, Verdict, kind_of
from pipelines.models import Attempt
from pipelines.services import finish
from pipelines.services.dispatch import Taker, hand_out
from pipelines.services.leases import LEASE_S, lease_until, renewed
from pipelines.services.params import params_of
from pipelines.states import Outcome, StageEvent, StageStatus
from pipelines.transitions import moving
from platform_site.common import clock
from platform_site.common.errors import PlatformError
from platform_site.common.outages import outage

LOST_TRIES: Final = 3
TAKE_S: Final = 0.5
"""How long a worker goes on with further stages of the queue before it looks at what else waits for it."""


def run_inline(attempt: Attempt, kind: InlineKind, *, worker: str) -> bool:
    """Run it here, once: the move to running is what one of many deliveries wins. True when this call ran it.

    Whoever ends a stage hands out the slot that came free, and goes on itself with what needs no other worker.
    """
    if not _begin(attempt, worker):
        return False
    until = time.monotonic() + TAKE_S
    taker = Taker(attempt.stage.queue, worker, partial(_holding, worker))
    queues = _work(attempt, kind)
    while worker and time.monotonic() < until:
        taken = hand_out(queues, taker).taken
        if taken is None:
            return True
        further = kind_of(taken.stage.kind)
        assert isinstance(further, InlineKind), "nothing else is taken"
        queues = _work(taken, further)
    hand_out(queues)
    return True


def _holding(worker: str) -> dict[str, Any]:
    """What stands in an attempt that runs in a worker."""
    return {"worker": worker, "started_at": timezone.now(), "lease_until": lease_until()}


def _begin(attempt: Attempt, worker: str) -> bool:
    # One transaction: a stage seen to run without its lease would be taken for lost, and run twice.
    with moving(attempt.stage.pipeline_id) as moves:
        actor, held = worker or "worker", _holding(worker)
        if not moves.stage(attempt.stage_id, StageEvent.START, actor=actor, attempt=attempt.number):
            return False
        Attempt.objects.filter(pk=attempt.pk, outcome="").update(**held)
    for name, value in held.items():
        setattr(attempt, name, value)
    return True


def _work(attempt: Attempt, kind: InlineKind) -> set[str]:
    """Do what began, and end it; the queues in which something may start now."""
    began = time.monotonic()
    with renewed(attempt):
        try:
            verdict = kind.run(attempt.stage, params_of(attempt.stage))
        except (PlatformError, TransportError) as error:
            verdict = Verdict(False, str(error), retryable=isinstance(error, TransportError))
        except OSError as error:
            away = outage(error)
            if away is None:
                raise
            verdict = Verdict(False, away.message, retryable=True)
    # Counted by a clock that nobody sets, as a runner does.
    took = {"elapsed_s": time.monotonic() - began}
    with moving(attempt.stage.pipeline_id) as moves:
        if verdict.complete:
            finish.complete(attempt, verdict, took)
        else:
            finish.fail_or_retry(attempt, verdict, took)
    return {attempt.stage.queue, *moves.queued}


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
