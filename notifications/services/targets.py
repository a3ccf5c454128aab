"""Addresses that messages are sent to. They go in, and never come out."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from notifications.models import Lane, Target
from notifications.services import outside
from notifications.services.preferences import keep_language, wishes_for
from notifications.services.wording import trial
from platform_site.common import audit, clock, crypto
from platform_site.common.errors import Conflict, Invalid, NotFound
from platform_site.common.models import User

MOST: Final = 10
LONGEST: Final = 2000
TEST_EVERY: Final = timedelta(seconds=10)


def add(user: User, name: str, url: str) -> Target:
    """Raises Invalid for an address that nothing can be sent to, Conflict for a name that is taken."""
    name = _named(name)
    known = _checked(url)
    made = Target(user=user, name=name, medium=known.medium, service=known.service[:60], secret=crypto.encrypt(url))
    with _one_of_a_name(), transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # of two at once, the second one counts the first
        if Target.objects.filter(user=user).count() >= MOST:
            raise Conflict(_("There are %(most)s addresses at most. Remove one first.") % {"most": MOST})
        keep_language(user)
        made.save()
        Lane.objects.bulk_create(Lane(target=made, urgent=urgent) for urgent in (True, False))
        _record("notifications.target.add", made)
    return made


def change(target: Target, *, name: str | None = None, url: str | None = None) -> Target:
    """Another address forgets what became of the last one. Raises Invalid, Conflict, and NotFound for one that was
    removed meanwhile."""
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = _named(name)
    if url is not None:
        known = _checked(url)
        changes |= {"medium": known.medium, "service": known.service[:60], "secret": crypto.encrypt(url)}
        changes |= {"sent_at": None, "problem": {}, "problem_at": None, "lost": 0}
    if not changes:
        return target
    for field, value in changes.items():
        setattr(target, field, value)
    with _one_of_a_name(), transaction.atomic():
        # The check took a while: the row may be gone, or something else of it have changed.
        if not Target.objects.filter(pk=target.pk).update(**changes):
            raise NotFound(_("There is no such address."))
        _record("notifications.target.change", target)
    return target


def remove(target: Target) -> None:
    with transaction.atomic():
        audit.record("notifications.target.remove", target.user, target, name=target.name)
        target.delete()


def try_out(target: Target) -> None:
    """Send a message now. Raises Invalid with the reason when it did not arrive, Conflict right after another one."""
    now = timezone.now()
    free = Q(tested_at=None) | Q(tested_at__lte=now - TEST_EVERY) | Q(tested_at__gt=clock.out_of_reach(TEST_EVERY))
    if not Target.objects.filter(free, pk=target.pk).update(tested_at=now):
        raise Conflict(_("A test was sent just now. Wait a few seconds."))
    message = trial(wishes_for(target.user).language, target.name)
    outcome = outside.sent(crypto.decrypt(target.secret), message)
    # Whatever address there is by now, this is told of the one that was tried.
    tried = Target.objects.filter(pk=target.pk, secret=target.secret)
    with transaction.atomic():
        audit.record("notifications.target.test", target.user, target, outcome=outcome.code)
        if outcome.ok:
            tried.update(sent_at=timezone.now(), problem={}, problem_at=None, lost=0)
        else:
            tried.update(problem={"code": outcome.code, "detail": outcome.detail}, problem_at=timezone.now())
    if not outcome.ok:
        raise Invalid(outside.told({"code": outcome.code, "detail": outcome.detail}), code="not_sent")


def _named(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 60 or not name.isprintable():
        told = _("Give a name of at most 60 characters.")
        raise Invalid(told, {"name": told})
    return name


def _checked(url: str) -> outside.Outcome:
    url = url.strip()
    if not url or len(url) > LONGEST or not url.isprintable() or "***" in url:
        told = outside.told({"code": "unusable"})
        raise Invalid(told, {"url": told})
    known = outside.checked(url)
    if not known.ok:
        told = outside.told({"code": known.code, "detail": known.detail})
        raise Invalid(told, {"url": told})
    return known


def _record(action: str, target: Target) -> None:
    audit.record(action, target.user, target, name=target.name, service=target.service)


@contextmanager
def _one_of_a_name() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        told = _("There is an address of that name.")
        raise Conflict(told, {"name": told}) from error
