"""What is on its way outside: errors ahead of the rest, one message of either at a time to a target, tried again where
it has not arrived, and ever fewer, longer messages where much happens."""

import logging
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from notifications.models import Delivery, Event, Lane, Preference, Target
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
LONGEST_URGENT_PAUSE_S: Final = 5 * 60
"""No error waits longer behind others."""
FIRST_BACKOFF_S: Final = 30.0
LONGEST: Final = timedelta(seconds=LONGEST_PAUSE_S)


@dataclass(frozen=True)
class _Claim:
    """What one message takes along. `deliveries` are in state SENDING, and nobody else sends what is in the lane.
    `tries` of the one that was tried most often, this time included."""

    lane: Lane
    deliveries: list[int]
    events: list[Event]
    tries: int


def send_deliver(lane_id: int) -> None:
    """Have a worker send. Should the message be lost, the next tick sends it again."""
    send("deliver_in", OUTSIDE, lane_id, max_age_ms=60_000)


def due_lanes() -> list[int]:
    """Lanes in which something can be sent now, those of errors first."""
    waiting = Delivery.objects.filter(lane=OuterRef("pk"), state__in=[Delivery.State.PENDING, Delivery.State.SENDING])
    return list(Lane.objects.filter(_due(), Exists(waiting)).values_list("pk", flat=True))


def _due() -> Q:
    return Q(next_at=None) | Q(next_at__lte=timezone.now()) | Q(next_at__gt=clock.out_of_reach(LONGEST))


def deliver(lane_id: int) -> bool:
    """Send what waits in a lane, as one message; False when there is nothing, or it is not time yet."""
    claim = _claim(lane_id)
    if claim is None:
        return False
    wishes = wishes_of(Preference.objects.filter(user=claim.lane.target.user_id).first())
    try:
        url = crypto.decrypt(claim.lane.target.secret)
    except Unavailable:
        outcome = outside.Outcome("broken")
    else:
        outcome = outside.sent(url, message(claim.events, wishes.language))
    _settle(claim, outcome)
    return True


def _claim(lane_id: int) -> _Claim | None:
    """Take the lane and all that waits in it. Whoever moves `next_at` sends; the next one waits until then."""
    now = timezone.now()
    with transaction.atomic():
        if not Lane.objects.filter(_due(), pk=lane_id).update(next_at=now + timedelta(seconds=LEASE_S)):
            return None
        lane = Lane.objects.select_related("target").get(pk=lane_id)
        mine = Delivery.objects.filter(lane=lane)
        # Whoever was sending these is gone: nobody knows whether they arrived, and nobody is told twice.
        if gone := mine.filter(state=Delivery.State.SENDING).update(state=Delivery.State.UNKNOWN):
            _note(lane, outside.Outcome("interrupted"), gone)
        waiting = list(mine.filter(state=Delivery.State.PENDING).select_related("event")[:MOST])
        if not waiting:
            Lane.objects.filter(pk=lane_id).update(next_at=None, pause_s=0)
            return None
        ids = [one.pk for one in waiting]
        mine.filter(pk__in=ids).update(state=Delivery.State.SENDING, tries=F("tries") + 1)
        tries = max(one.tries for one in waiting) + 1
    return _Claim(lane, ids, [one.event for one in waiting], tries)


def _settle(claim: _Claim, outcome: outside.Outcome) -> None:
    with transaction.atomic():
        again, ended = _keep(claim, outcome)
        if not again + ended:
            return  # it took so long that somebody else has told these as lost, and holds the lane by now
        if outcome.ok:
            _pause(claim.lane)
        else:
            _note(claim.lane, outcome, ended)
            wait_s = FIRST_BACKOFF_S * 2**claim.tries * random.uniform(0.8, 1.2)  # noqa: S311  jitter
            _wait(claim.lane, min(LONGEST_PAUSE_S, wait_s))
    if not outcome.ok:
        logger.warning("Target %d: %d events not sent (%s), try %d", claim.lane.target_id, len(claim.events),
                       outcome.code, claim.tries)  # fmt: skip


def _keep(claim: _Claim, outcome: outside.Outcome) -> tuple[int, int]:
    """How many are tried again, and how many have come to their end."""
    mine = Delivery.objects.filter(pk__in=claim.deliveries, state=Delivery.State.SENDING)
    again = mine.filter(tries__lt=MOST_TRIES).update(state=Delivery.State.PENDING) if outcome.passes else 0
    if outcome.ok:
        state = Delivery.State.SENT
    else:
        state = Delivery.State.UNKNOWN if outcome.may_have_arrived else Delivery.State.FAILED
    return again, mine.update(state=state)


def _pause(lane: Lane) -> None:
    """Where something waited when the last pause was over, the next one is twice as long."""
    quiet = lane.sent_at is None or clock.age_s(lane.sent_at) > 2 * max(lane.pause_s, SHORTEST_PAUSE_S)
    longest = LONGEST_URGENT_PAUSE_S if lane.urgent else LONGEST_PAUSE_S
    pause_s = SHORTEST_PAUSE_S if quiet else min(longest, max(SHORTEST_PAUSE_S, 2 * lane.pause_s))
    _wait(lane, pause_s, sent_at=timezone.now(), pause_s=pause_s)
    address = _address(lane)
    address.update(sent_at=timezone.now())
    address.filter(lost=0).update(problem={}, problem_at=None)


def _address(lane: Lane) -> QuerySet[Target]:
    """The address that was sent to, unless it was changed meanwhile: what became of this is nothing to the new one."""
    return Target.objects.filter(pk=lane.target_id, secret=lane.target.secret)


def _wait(lane: Lane, wait_s: float, **fields: Any) -> None:
    Lane.objects.filter(pk=lane.pk).update(next_at=timezone.now() + timedelta(seconds=wait_s), **fields)


def _note(lane: Lane, outcome: outside.Outcome, lost: int) -> None:
    """What arrives later does not make up for what is lost: it stays told beside the address."""
    _address(lane).update(
        problem={"code": outcome.code, "detail": outcome.detail}, problem_at=timezone.now(), lost=F("lost") + lost
    )
