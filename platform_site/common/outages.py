"""What the platform stands on is away: said in words that tell a person what to do about it."""

import errno
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _

from platform_runtime.files import free_bytes

FULL_BYTES: Final = 16 << 20
"""Fewer free bytes than this: what needs room for a checkpoint, a log or a database page did not find it."""
RETRY_AFTER_S: Final = 5
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_POSTGRESQL_DISK_FULL: Final = "53100"


@dataclass(frozen=True)
class Outage:
    """`code` is for programs, `message` for people. Waiting and trying again may help."""

    code: str
    message: str


def no_space(place: str, free: int | None) -> str:
    """`place` says in words whose volume it is."""
    return _("No space left on the volume of %(place)s: %(free)d MB free. Make room there, then try again.") % {
        "place": place,
        "free": (free or 0) >> 20,
    }


def data_folder() -> str:
    """What is wrong with the volume of the platform's own data; empty when there is room. Names no path: anybody
    may ask whether the platform is ready."""
    free = free_bytes(str(settings.DATA_DIR))
    return no_space(_("the data folder"), free) if free is not None and free < FULL_BYTES else ""


def is_no_space(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_SPACE


PASSING: Final = (OperationalError, InterfaceError)
"""Errors of the database after which the same may be tried again. A value that it refuses is refused for ever."""


def outage(error: BaseException | None) -> Outage | None:
    """What the error says about what the platform stands on; None when it is something else."""
    if error is None:
        return None
    if is_no_space(error):
        return Outage("disk_full", data_folder() or no_space(_("the platform or its temporary files"), 0))
    if not isinstance(error, PASSING):
        return None
    if full := data_folder():
        return Outage("disk_full", full)
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) == _POSTGRESQL_DISK_FULL or "disk is full" in str(error):
        return Outage("disk_full", no_space(_("the database"), 0))
    return Outage("unavailable", _("The database does not answer. Try again in a moment."))
