"""What a person may see of notifications: their own."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import F, Max, QuerySet, Window
from django.utils.translation import gettext as _

from notifications.models import Notification, Target
from platform_site.common.errors import NotFound

Person = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True)
class Bell:
    """What stands at the top of every page: how many are unread, and the newest that the browser should show."""

    unread: int
    newest: Notification | None


def notifications_for(user: Person) -> QuerySet[Notification]:
    """Newest first, with the event that each tells of."""
    if user.pk is None:
        return Notification.objects.none()
    return Notification.objects.filter(user_id=user.pk, in_page=True).select_related("event")


def by_object(found: QuerySet[Notification]) -> QuerySet[Notification]:
    """What happened to one thing stands together, the thing with the newest first."""
    newest: Any = Window(Max("last_at"), partition_by=[F("group")])
    return found.annotate(group_at=newest).order_by("-group_at", "group", "-last_at", "-pk")


def notification_for(user: Person, notification_id: int) -> Notification:
    """Raises NotFound, also for somebody else's."""
    found = notifications_for(user).filter(pk=notification_id).first()
    if found is None:
        raise NotFound(_("There is no such notification."))
    return found


def targets_for(user: Person) -> QuerySet[Target]:
    return Target.objects.filter(user_id=user.pk) if user.pk is not None else Target.objects.none()


def target_for(user: Person, target_id: int) -> Target:
    """Raises NotFound, also for somebody else's."""
    found = targets_for(user).filter(pk=target_id).first()
    if found is None:
        raise NotFound(_("There is no such address."))
    return found


def unread(user_id: int) -> int:
    return Notification.objects.filter(user_id=user_id, in_page=True, read_at=None).count()


def bell_of(user_id: int) -> Bell:
    loud = Notification.objects.filter(user_id=user_id, in_browser=True, read_at=None)
    return Bell(unread(user_id), loud.select_related("event").order_by("-pk").first())
