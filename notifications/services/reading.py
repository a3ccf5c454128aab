"""Marking as read, and forgetting what is old."""

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from notifications import selectors
from notifications.models import Event, Notification
from notifications.services.spread import changed
from platform_site.common import live
from platform_site.common.models import User

MOST: Final = 1000
"""Events that one pass forgets: the rest goes in the next one."""


def read(user: User, notification_id: int) -> Notification:
    """Raises NotFound for somebody else's."""
    found = selectors.notification_for(user, notification_id)
    if _mark(user, pk=found.pk):
        found.refresh_from_db()
    return found


def read_all(user: User) -> int:
    """How many were unread."""
    return _mark(user)


@transaction.atomic
def _mark(user: User, **which: int) -> int:
    done = Notification.objects.filter(user=user, read_at=None, **which).update(read_at=timezone.now())
    if done:
        live.push_all_on_commit([changed(user.pk)])
    return done


def tidy() -> None:
    """One pass. Events go with all that was told of them."""
    if settings.NOTIFICATIONS_KEEP_S:
        before = timezone.now() - timedelta(seconds=settings.NOTIFICATIONS_KEEP_S)
        old = Event.objects.filter(at__lt=before).exclude(spread_at=None).order_by("at").values_list("pk", flat=True)
        Event.objects.filter(pk__in=list(old[:MOST])).delete()
