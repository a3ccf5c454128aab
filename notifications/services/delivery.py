"""What is on its way outside: one message at a time to a target, tried again where it has not arrived, and ever
fewer, longer messages where much happens."""

import logging
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from notifications.models import Delivery, Event, Preference, Target
from notifications.services import outside
from notifications.services.preferences import wishes_of
from notifications.services.wording import message
from platform_site.common import clock, crypto
from platform_site.common.errors import Unavailable
from platform_site.common.messages import send
from platform_site.common.queues import OUTSIDE

logger = logging.getLogger(__name__)

MOST: Final = 1000
"""Events of one message."""
MOST_TRIES: Final = 5
LEASE_S: Final = 120.0
"""Longer than sending can take."""
SHORTEST_PAUSE_S: Final = 60
LONGEST_PAUSE_S: Final = 15 * 60
FIRST_BACKOFF_S: Final = 30.0
LONGEST: Final = timedelta(seconds=LONGEST_PAUSE_S)


@dataclass(frozen=True)
class _Claim:
    """What one message takes along. `deliveries` are in state SENDING, and nobody else sends to the target.
    `tries` of the one that was tried most often, this time included."""

    target: Target
    deliveries: list[int]
    events: list[Event]
    tries: int


def send_deliver(target_id: int) -> None:
    """Have a worker send. Should the message be lost, the next tick sends it again."""
    send("deliver_to", OUTSIDE, target_id, max_age_ms=60_000)


def due_targets() -> list[int]:
    """Targets that something can be sent to now."""
    waiting = Delivery.objects.filter(target=OuterRef("pk"), state__in=[Delivery.State.PENDING, Delivery.State.SENDING])
    return list(Target.objects.filter(_due(), Exists(waiting)).values_list("pk", flat=True))


def _due() -> Q:
    return Q(next_at=None) | Q(next_at__lte=timezone.now()) | Q(next_at__gt=clock.out_of_reach(LONGEST))


def deliver(target_id: int) -> bool:
    """Send what waits for a target, as one message; False when there is nothing, or it is not time yet."""
    claim = _claim(target_id)
    if claim is None:
        return False
    wishes = wishes_of(Preference.objects.filter(user=claim.target.user_id).first())
    try:
        url = crypto.decrypt(claim.target.secret)
    except Unavailable:
        outcome = outside.Outcome("broken")
    else:
        outcome = outside.sent(url, message(claim.events, wishes.language))
    _settle(claim, outcome)
    return True


def _claim(target_id: int) -> _Claim | None:
    """Take the target and all that waits for it. Whoever moves `next_at` sends; the next one waits until then."""
    now = timezone.now()
    with transaction.atomic():
        if not Target.objects.filter(_due(), pk=target_id).update(next_at=now + timedelta(seconds=LEASE_S)):
            return None
        target = Target.objects.get(pk=target_id)
        mine = Delivery.objects.filter(target=target)
        # Whoever was sending these is gone: nobody knows whether they arrived, and nobody is told twice.
        if mine.filter(state=Delivery.State.SENDING).update(state=Delivery.State.FAILED):
            _note(target, outside.Outcome("interrupted"))
        waiting = list(mine.filter(state=Delivery.State.PENDING).select_related("event")[:MOST])
        if not waiting:
            Target.objects.filter(pk=target_id).update(next_at=None, pause_s=0)
            return None
        ids = [one.pk for one in waiting]
        mine.filter(pk__in=ids).update(state=Delivery.State.SENDING, tries=F("tries") + 1)
        tries = max(one.tries for one in waiting) + 1
    return _Claim(target, ids, [one.event for one in waiting], tries)


def _settle(claim: _Claim, outcome: outside.Outcome) -> None:
    now = timezone.now()
    with transaction.atomic():
        mine = Delivery.objects.filter(pk__in=claim.deliveries, state=Delivery.State.SENDING)
        if outcome.passes:
            mine.filter(tries__lt=MOST_TRIES).update(state=Delivery.State.PENDING)
        mine.update(state=Delivery.State.SENT if outcome.ok else Delivery.State.FAILED)
        if outcome.ok:
            pause_s = _pause_s(claim.target)
            Target.objects.filter(pk=claim.target.pk).update(
                sent_at=now, problem={}, problem_at=None, pause_s=pause_s, next_at=now + timedelta(seconds=pause_s)
            )
        else:
            _note(claim.target, outcome)
            wait_s = min(LONGEST_PAUSE_S, FIRST_BACKOFF_S * 2**claim.tries) * random.uniform(0.8, 1.2)  # noqa: S311  jitter
            Target.objects.filter(pk=claim.target.pk).update(next_at=now + timedelta(seconds=wait_s))
    if not outcome.ok:
        logger.warning("Target %d: %d events not sent (%s), try %d", claim.target.pk, len(claim.events), outcome.code,
                       claim.tries)  # fmt: skip


def _pause_s(target: Target) -> int:
    """Where something waited when the last pause was over, the next one is twice as long."""
    quiet = target.sent_at is None or clock.age_s(target.sent_at) > 2 * max(target.pause_s, SHORTEST_PAUSE_S)
    return SHORTEST_PAUSE_S if quiet else min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, 2 * target.pause_s))


def _note(target: Target, outcome: outside.Outcome) -> None:
    Target.objects.filter(pk=target.pk).update(
        problem={"code": outcome.code, "detail": outcome.detail}, problem_at=timezone.now()
    )
