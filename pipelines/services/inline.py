"""Short stages in the worker itself, under a lease that the worker renews."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from django.db import DatabaseError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.transports import TransportError
from pipelines.decide import RESEND_AFTER_S
from pipelines.kinds import InlineKind, Verdict
from pipelines.models import Attempt
from pipelines.services import finish
from pipelines.services.params import params_of
from pipelines.states import Outcome, StageEvent, StageStatus
from pipelines.transitions import move_stage
from platform_site.common import clock
from platform_site.common.db import released_connections
from platform_site.common.errors import PlatformError

logger = logging.getLogger(__name__)

LEASE_S: Final = 15.0
RENEW_S: Final = 4.0
LOST_TRIES: Final = 3


def run_inline(attempt: Attempt, kind: InlineKind, *, worker: str) -> bool:
    """Run it here, once: the move to running is what one of many deliveries wins. True when this call ran it."""
    now = timezone.now()
    # One transaction: a stage seen to run without its lease would be taken for lost, and run twice.
    with transaction.atomic():
        if not move_stage(
            attempt.stage_id, StageEvent.START, actor=worker or "worker", attempt=attempt.number, started_at=now
        ):
            return False
        Attempt.objects.filter(pk=attempt.pk, outcome="").update(
            started_at=now, worker=worker, lease_until=now + timedelta(seconds=LEASE_S)
        )
    attempt.refresh_from_db()
    began = time.monotonic()
    with _renewed(attempt):
        try:
            verdict = kind.run(attempt.stage, params_of(attempt.stage))
        except (PlatformError, TransportError) as error:
            verdict = Verdict(False, str(error), retryable=isinstance(error, TransportError))
    # Counted by a clock that nobody sets, as a runner does.
    took = {"elapsed_s": time.monotonic() - began}
    if verdict.complete:
        finish.complete(attempt, verdict, took)
    else:
        finish.fail_or_retry(attempt, verdict, took)
    return True


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


@contextmanager
def _renewed(attempt: Attempt) -> Iterator[None]:
    """Keep the lease while the work lasts. A worker that is killed or frozen stops renewing, and is found lost."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(RENEW_S):
            try:
                with released_connections():
                    Attempt.objects.filter(pk=attempt.pk, outcome="").update(
                        lease_until=timezone.now() + timedelta(seconds=LEASE_S)
                    )
            except DatabaseError:  # it passes, and who gave up here would be found lost while it works
                logger.warning("The lease of %s could not be renewed", attempt.pk)

    thread = threading.Thread(target=renew, name=f"lease {attempt.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
