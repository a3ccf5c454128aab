"""What becomes of runs on a host that does not answer, and what is made up for when it does.

Nobody there can be asked. What was certainly not begun goes back to its queue, what somebody cancelled before its start
was seen is over at once, what runs is waited for. What ends so is ended in the books alone: its host hears of it first
when it is back, before anything new is sent there.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from django.conf import settings
from django.db.models import F
from django.utils.translation import gettext as _

from environments.models import Host
from environments.services.reach import silence
from environments.transports import Transport, TransportError, Unreachable
from pipelines.kinds import Verdict, is_inline
from pipelines.models import Attempt, Stage
from pipelines.services import finish
from pipelines.services.leases import LEASE_S
from pipelines.states import STAGE_ACTIVE, StageStatus
from pipelines.transitions import moving, touch_pipeline
from platform_site.common import clock

logger = logging.getLogger(__name__)

BLIP_S: Final = 15.0
"""A host that keeps silent for longer is not waited for with what it was never given."""
MOST: Final = 1000
"""Ends that a host hears of in one look. The others come with the next."""


def look(host: Host, attempts: Sequence[Attempt]) -> bool:
    """Judge what can be judged without the host, and say of the rest what it waits for; True when anything ended."""
    assert host.unreachable_since is not None, "it does not answer"
    silent_s = clock.age_s(host.unreachable_since)
    waiting = [attempt for attempt in attempts if not _ended(host, attempt, silent_s)]
    _tell(waiting, silence(host))
    return len(waiting) < len(attempts)


def answers_again(host: Host, attempts: Iterable[Attempt], transport: Transport) -> None:
    """Take back what was said of those that waited, and end there what ended here meanwhile. Raises Unreachable."""
    _tell([attempt for attempt in attempts if attempt.stage.waiting_for], "")
    for attempt in owed(host):
        end_there(attempt, transport)


def cancel_unseen(attempt: Attempt, *, actor: str) -> bool:
    """End at once what was cancelled on a silent host, unless it was seen to run: nobody can ask for its end there.

    False where it has to be waited for.
    """
    host = attempt.host
    if host is None or host.unreachable_since is None or attempt.started_at is not None:
        return False
    if attempt.stage.status == StageStatus.RUNNING or is_inline(attempt.stage.kind):
        return False
    return _in_the_books(attempt, partial(finish.cancel_unstarted, attempt, actor=actor))


def owed(host: Host) -> list[Attempt]:
    """The attempts that ended while the host was silent, and which it does not know of yet."""
    return list(Attempt.objects.select_related("stage").filter(host=host, end_owed=True).order_by("created_at")[:MOST])


def end_there(attempt: Attempt, transport: Transport) -> bool:
    """Forbid its start, and end what had begun; False where something lives on. Raises Unreachable."""
    try:
        if not finish.revoke(attempt, transport) and (survivors := transport.kill(attempt.folder)):
            logger.error("Processes %s of %s cannot be ended", survivors, attempt.folder)
            return False
    except Unreachable:
        raise
    except TransportError as error:
        logger.warning("The start of %s cannot be forbidden: %s", attempt.folder, error)
        return False
    return Attempt.objects.filter(pk=attempt.pk).update(end_owed=False) == 1


def _ended(host: Host, attempt: Attempt, silent_s: float) -> bool:
    if attempt.stage.status == StageStatus.CANCELLING and cancel_unseen(attempt, actor=finish.OBSERVER):
        return True
    grace = settings.UNREACHABLE_GRACE_S
    if grace and silent_s >= grace:
        return _in_the_books(attempt, partial(_lost, attempt, host, silent_s))
    return silent_s >= BLIP_S and _given_back(host, attempt)


def _lost(attempt: Attempt, host: Host, silent_s: float) -> bool:
    if attempt.stage.status == StageStatus.CANCELLING:
        return finish.cancelled(attempt, Verdict(False), {})
    reason = _("The run was lost: host %(host)s has not answered for %(minutes)d min.") % {
        "host": host.name,
        "minutes": max(1, int(silent_s // 60)),
    }
    verdict = Verdict(False, attempt.reason or reason, not attempt.reason)
    return finish.fail_or_retry(attempt, verdict, {}, lost=True)


def _given_back(host: Host, attempt: Attempt) -> bool:
    """To its queue: nothing of it was sent to the host yet. Whoever brings its inputs there just now is left to it."""
    if attempt.stage.status != StageStatus.STARTING or attempt.offered_at is not None:
        return False
    if not clock.is_over(attempt.lease_until, timedelta(seconds=LEASE_S)):
        return False
    reason = _("Host %(host)s does not answer: nothing was begun there.") % {"host": host.name}
    return finish.give_back(attempt, reason)


def _in_the_books(attempt: Attempt, end: Callable[[], bool]) -> bool:
    """End it here, and note that its host has still to hear of it, in one transaction."""
    with moving(attempt.stage.pipeline_id):
        ended = end()
        if ended:
            Attempt.objects.filter(pk=attempt.pk).update(end_owed=True)
    return ended


def _tell(attempts: Iterable[Attempt], why: str) -> None:
    """On the rows of their stages, and on the pages that show them; written once."""
    for attempt in attempts:
        stage = attempt.stage
        told = Stage.objects.filter(pk=stage.pk, status__in=STAGE_ACTIVE).exclude(waiting_for=why)
        if stage.waiting_for != why and told.update(waiting_for=why, version=F("version") + 1):
            touch_pipeline(stage.pipeline_id, stages={stage.pk})
