"""What can go wrong between the platform and a host."""

import errno

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


def refusal(error: OSError, path: str, free: int | None) -> TransportError:
    """The operating system's refusal in one sentence that says what to do. `free` bytes are left on the volume."""
    if is_no_space(error):
        return TransportError(no_space(path, free))
    what = _HINTS.get(error.errno or 0, error.strerror or str(error))
    return TransportError(f"{path}: {what}")
