"""Whether a host answers: a condition with its age, and a growing pause before it is asked again."""

import logging
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from environments import notices
from environments.messages import announce
from environments.models import Host
from environments.transports import Unreachable
from platform_site.common import clock

logger = logging.getLogger(__name__)

MAX_BACKOFF: Final = timedelta(seconds=60)
SEEN_EVERY_S: Final = 20.0
_LONGEST: Final = 500


def lost(host: Host, error: Unreachable) -> None:
    """It did not answer, or does not let us in."""
    logger.warning("Host %s does not answer: %s", host.name, error)
    now = timezone.now()
    wait = min(MAX_BACKOFF, timedelta(seconds=2.0 ** min(host.failures, 10)))
    host.unreachable_since = host.unreachable_since or now
    host.failures += 1
    with transaction.atomic():
        Host.objects.filter(pk=host.pk).update(
            unreachable_since=host.unreachable_since,
            failures=host.failures,
            retry_at=now + wait,
            last_error=str(error)[:_LONGEST],
            last_error_at=now,
        )
        notices.is_away(host, host.unreachable_since, str(error)[:_LONGEST])
        announce(host)


def noticed(host: Host, error: Unreachable) -> None:
    """It did not answer somebody who had work for it. The pause grows by the tries of the observer alone."""
    host.refresh_from_db(fields=["unreachable_since", "failures"])
    if host.unreachable_since is None:
        lost(host, error)


def silence(host: Host) -> str:
    """What is waited for where one waits for a host that does not answer."""
    assert host.unreachable_since is not None, "it does not answer"
    since = timezone.localtime(host.unreachable_since).strftime("%Y-%m-%d %H:%M %Z")
    return _("host %(host)s, silent since %(since)s") % {"host": host.name, "since": since}


def found(host: Host) -> bool:
    """It answers. True when it had not: what waited for it may start."""
    if host.unreachable_since is None and not host.failures:
        _seen(host)
        return False
    logger.info("Host %s answers again", host.name)
    host.unreachable_since, host.failures, host.seen_at = None, 0, timezone.now()
    Host.objects.filter(pk=host.pk).update(unreachable_since=None, retry_at=None, failures=0, seen_at=host.seen_at)
    announce(host)
    return True


def answered(host: Host) -> None:
    """It answered somebody who is not the observer. Where runs were given up while it was silent, the observer ends
    what lives on of them first, at its next look: nothing new may be sent there before."""
    if host.attempts.filter(end_owed=True).exists():
        Host.objects.filter(pk=host.pk).update(retry_at=None)
    else:
        found(host)


def is_due(host: Host) -> bool:
    """Whether it is time to ask a host that nothing runs on if it answers. One that was never checked is nobody's yet;
    one that is silent is asked at each end of its pause."""
    if host.unreachable_since is not None:
        return True
    known = host.enabled and not host.is_local and host.facts_at is not None
    return known and bool(settings.HOST_CHECK_S) and _age_s(host.seen_at) >= settings.HOST_CHECK_S


def _seen(host: Host) -> None:
    """Keep when it answered last, now and then: some hosts are looked at each second."""
    if not host.is_local and _age_s(host.seen_at) >= min(SEEN_EVERY_S, settings.HOST_CHECK_S or SEEN_EVERY_S):
        host.seen_at = timezone.now()
        Host.objects.filter(pk=host.pk).update(seen_at=host.seen_at)


def _age_s(moment: datetime | None) -> float:
    return clock.LONG_AGO_S if moment is None else clock.age_s(moment)


def failed(host: Host, message: str) -> None:
    """It answered, and could not do what was asked."""
    Host.objects.filter(pk=host.pk).update(last_error=message[:_LONGEST], last_error_at=timezone.now())
    announce(host)
