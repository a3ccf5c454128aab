"""Diagnose on demand: short runs at once, long ones by a worker."""

from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction

from monitoring import selectors
from monitoring.models import Stream
from monitoring.services.diagnose import diagnose, is_long
from platform_site.common.messages import send
from platform_site.common.queues import MAINTENANCE


def diagnose_now(stream: Stream) -> bool:
    """Read a run anew; False when that is left to a worker, as it would take too long to wait for."""
    if is_long(stream.pk):
        _send(stream.pk)
        return False
    diagnose(stream.pk)
    return True


def diagnose_all(user: AbstractBaseUser | AnonymousUser) -> int:
    """Have every run that this user may see and that has logged anything read anew; how many there are."""
    found = list(selectors.streams_for(user).filter(last_step__isnull=False).values_list("pk", flat=True))
    for stream_id in found:
        _send(stream_id)
    return len(found)


def _send(stream_id: UUID) -> None:
    transaction.on_commit(lambda: send("diagnose_stream", MAINTENANCE, str(stream_id)), robust=True)
