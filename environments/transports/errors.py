"""What can go wrong between the platform and a host."""

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from platform_site.common.outages import is_no_space, no_space


class TransportError(Exception):
    """The host answered, but refused or failed. The message is for people."""


class Unreachable(TransportError):
    """The host did not answer, or does not let us in. A condition, not a verdict: whatever runs there may live on."""


class KeyChanged(Unreachable):
    """Another host key than the one that was enrolled. Nothing secret was sent."""


class Unfinished(TransportError):
    """It goes on well and needs more time than one call may take: call again."""


_HINTS = {
    errno.EACCES: "no right to write there: check the owner of the folder",
    errno.EPERM: "no right to write there: check the owner of the folder",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EEXIST: "a file stands where a folder should be",
    errno.ELOOP: "a symbolic link stands where a file or folder should be",
}


_NO_CONNECTION: Final = (
    (
        (errno.ECONNREFUSED,),
        gettext_noop("nothing listens there. Start the server, or correct address and port"),
    ),
    (
        (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN),
        gettext_noop("no way leads there. See whether machine and network are up, or correct the address"),
    ),
    (
        (errno.ETIMEDOUT,),
        gettext_noop("no answer in time. See whether the machine is on, and whether a firewall is in between"),
    ),
    (
        (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED),
        gettext_noop("it cut the connection. See the log of the server there"),
    ),
)
_UNKNOWN_NAME: Final = gettext_noop("its name is not known. Correct the address, or see the name server")
_CERTIFICATE: Final = gettext_noop(
    "its certificate is not trusted. Give it one that is trusted here, or correct the address"
)
_NUMBER: Final = re.compile(r"\[Errno -?\d+\] ?")


def no_connection(error: BaseException) -> str:
    """Why there is no connection and what to do about it, in one sentence; what the system said stands behind it.

    Libraries wrap the system's error in their own: the first one in the chain that we know counts.
    """
    said = _NUMBER.sub("", str(error)).strip() or type(error).__name__
    for one in _causes(error):
        if told := _known(one):
            return f"{_(told)}. ({said})"
    return said


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _known(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE
    if isinstance(error, socket.gaierror):
        return _UNKNOWN_NAME
    number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else getattr(error, "errno", None)
    return next((told for numbers, told in _NO_CONNECTION if number in numbers), "")


def refusal(error: OSError, path: str, free: int | None) -> TransportError:
    """The operating system's refusal in one sentence that says what to do. `free` bytes are left on the volume."""
    if is_no_space(error):
        return TransportError(no_space(path, free))
    what = _HINTS.get(error.errno or 0, error.strerror or str(error))
    return TransportError(f"{path}: {what}")
