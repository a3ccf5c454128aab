"""From events to people: who is told of what, where. Each event is spread once, in one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from notifications.kinds import kind_of
from notifications.models import Delivery, Event, Notification, Preference, Target
from notifications.services.delivery import send_deliver
from notifications.services.preferences import BROWSER, PAGE, Wishes, wishes_of
from platform_site.common import live
from platform_site.common.models import User
from platform_site.common.roles import ROLE_BY_SLUG, Role
from platform_site.common.severity import Severity

MOST: Final = 500
"""Events of one go."""
FOLD: Final = timedelta(minutes=10)
"""Events of one group and kind that come closer than this are told as one while it is unread."""

Fold = tuple[int, str, str]
"""User, group, kind."""


@dataclass(frozen=True)
class _Person:
    user: User
    role: Role
    wishes: Wishes
    targets: Sequence[Target]


def spread() -> int:
    """Tell people of what nobody has been told of yet; how many events that were. Any number may do so at a time."""
    with transaction.atomic():
        waiting = Event.objects.select_for_update(skip_locked=True).filter(spread_at=None).order_by("pk")
        events = list(waiting[:MOST])
        if not events:
            return 0
        people = _people()
        told = _tell(events, people)
        due = _address(events, people)
        Event.objects.filter(pk__in=[event.pk for event in events]).update(spread_at=timezone.now())
        live.push_all_on_commit([changed(user_id) for user_id in sorted(told)])
        transaction.on_commit(partial(_send, due), robust=True)
    return len(events)


def _send(lane_ids: Iterable[int]) -> None:
    for lane_id in lane_ids:
        send_deliver(lane_id)


def changed(user_id: int) -> live.Event:
    """Says that the notifications of this person did."""
    return live.Event(f"notifications.{user_id}", {"user": user_id})


def _people() -> list[_Person]:
    """All with a role: one team shares one platform."""
    found = User.objects.filter(Q(is_superuser=True) | Q(groups__name__in=ROLE_BY_SLUG), is_active=True).distinct()
    preferences = {one.user_id: one for one in Preference.objects.all()}
    people = []
    for user in found.prefetch_related("groups", "notification_targets__lanes").order_by("pk"):
        held = [ROLE_BY_SLUG[group.name] for group in user.groups.all() if group.name in ROLE_BY_SLUG]
        role = Role.ADMIN if user.is_superuser else max(held)
        people.append(_Person(user, role, wishes_of(preferences.get(user.pk)), list(user.notification_targets.all())))
    return people


def _hears(person: _Person, event: Event) -> bool:
    kind = kind_of(event.kind)
    return kind is not None and person.role >= kind.role


def _tell(events: Sequence[Event], people: Iterable[_Person]) -> set[int]:
    """Notifications in the browser; whose changed."""
    folds = _open_folds(events)
    new: list[Notification] = []
    grown: dict[int, Notification] = {}
    for event in events:
        for person in people:
            in_page, in_browser = (person.wishes.wants(event, channel, person.user) for channel in (PAGE, BROWSER))
            if not _hears(person, event) or not (in_page or in_browser):
                continue
            key = (person.user.pk, event.group, event.kind)
            known = folds.get(key)
            if known is None:
                known = _first(event, person.user)
                known.in_page, known.in_browser = in_page, in_browser
                folds[key] = known
                new.append(known)
                continue
            _join(known, event)
            known.in_page |= in_page
            known.in_browser |= in_browser
            if known.pk is not None:
                grown[known.pk] = known
    Notification.objects.bulk_create(new, ignore_conflicts=True, batch_size=500)
    Notification.objects.bulk_update(
        grown.values(), ["event", "severity", "count", "last_at", "in_page", "in_browser"], batch_size=200
    )
    return {one.user_id for one in [*new, *grown.values()]}


def _open_folds(events: Sequence[Event]) -> dict[Fold, Notification]:
    lately = min(event.at for event in events) - FOLD
    found = Notification.objects.filter(
        group__in={event.group for event in events}, read_at=None, last_at__gte=lately
    ).order_by("pk")
    return {(one.user_id, one.group, one.kind): one for one in found}


def _first(event: Event, user: User) -> Notification:
    return Notification(
        user=user,
        key=event.key,
        event=event,
        kind=event.kind,
        group=event.group,
        severity=event.severity,
        at=event.at,
        last_at=event.at,
    )


def _join(known: Notification, event: Event) -> None:
    known.count += 1
    known.last_at = max(known.last_at, event.at)
    if event.severity >= known.severity:
        known.event, known.severity = event, event.severity


def _address(events: Sequence[Event], people: Iterable[_Person]) -> list[int]:
    """What is to be sent outside; the lanes that have something to send, those of errors first."""
    wanted: list[Delivery] = []
    for person in people:
        for target in person.targets:
            lanes = {lane.urgent: lane for lane in target.lanes.all()}
            wanted += [
                Delivery(lane=lanes[event.severity >= Severity.ERROR], event=event)
                for event in events
                if _hears(person, event) and person.wishes.wants(event, target.medium, person.user)
            ]
    Delivery.objects.bulk_create(wanted, ignore_conflicts=True, batch_size=500)
    return list(dict.fromkeys(one.lane_id for one in sorted(wanted, key=lambda one: not one.lane.urgent)))
