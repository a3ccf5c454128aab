"""Names and paths that come from people: checked before they meet a file system.

`slug` is for names that become parts of addresses and files; `inside` for a path below a root of ours; `allowed` for
a path somebody names on this machine; `open_inside` reads without following links that appear in between.
"""

import errno
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from django.utils.translation import gettext as _

from .errors import Invalid, NotFound

SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
ROUTE_WORDS: Final = frozenset(
    {
        "cancel", "check", "compare", "compile", "create", "delete", "diagnose-all", "diff", "edit", "enroll", "import",
        "log", "new", "overview", "pause", "recommendations", "rerun", "resume", "retry", "revisions", "runs", "schema",
        "search", "setup", "stages", "start", "stats", "status", "transitions", "validate", "versions",
    }
)  # fmt: skip
"""Words that stand beside or below names in addresses. A thing of that name could not be reached."""
LONGEST_PATH: Final = 4000
_ENCODED: Final = re.compile(r"%[0-9a-fA-F]{2}")


def slug(value: object, *, field: str = "slug") -> str:
    """The value itself, if it is a name as the contract has it. Raises Invalid with `field`."""
    if not isinstance(value, str) or not SLUG.fullmatch(value):
        problem = _("Use 1 to 63 of a-z, 0-9, - and _, and begin with a letter or digit.")
    elif value in ROUTE_WORDS:
        problem = _("This word is part of the platform's addresses. Choose another.")
    else:
        return value
    raise Invalid(f"{field}: {problem}", {field: problem})


def inside(root: Path, *parts: str) -> Path:
    """The real path of `parts` below `root`; it need not exist. Raises Invalid for anything that leaves the root:
    absolute parts, "..", NUL, backslashes, percent-encoding, and links that lead out."""
    for part in parts:
        _plain(part, absolute=False)
    home = root.resolve()
    path = home.joinpath(*parts).resolve()
    if path != home and not path.is_relative_to(home):
        raise _outside()
    return path


def allowed(path: str, roots: Iterable[Path]) -> Path:
    """The real path behind an absolute `path`, if it lies below one of `roots`. Raises Invalid; NotFound when there
    is nothing. Whether something exists outside of the roots is not told."""
    _plain(path, absolute=True)
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        raise _outside()
    if not real.exists():
        raise NotFound(_("There is no such file."))
    return real


def open_inside(root: Path, relative: str) -> BinaryIO:
    """Opens a regular file below `root` for reading, folder by folder and without following any link, so that
    nothing can be swapped between check and use. Raises Invalid, or NotFound."""
    _plain(relative, absolute=False)
    names = [name for name in relative.split("/") if name not in {"", "."}]
    if not names:
        raise _outside()
    folder = os.open(root.resolve(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names[:-1]:
            deeper = _open_below(folder, name, os.O_RDONLY | os.O_DIRECTORY)
            os.close(folder)
            folder = deeper
        # O_NONBLOCK: a pipe put there would otherwise hold us until somebody writes.
        descriptor = _open_below(folder, names[-1], os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _outside()
    return os.fdopen(descriptor, "rb")


def _open_below(folder: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            # A link in place of a folder is "not a directory" too, and is told the same.
            raise NotFound(_("There is no such file.")) from None
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EISDIR}:
            raise _outside() from None
        raise


def _plain(path: str, *, absolute: bool) -> None:
    """Refuses what has no business in a path. Encoded dots and slashes are refused rather than decoded: whoever
    decodes once more, later, must not find anything."""
    if (
        not path
        or len(path) > LONGEST_PATH
        or any(ord(character) < 32 or character == "\x7f" for character in path)
        or "\\" in path
        or _ENCODED.search(path)
        or ".." in path.split("/")
        or path.startswith("/") != absolute
        or not _encodable(path)
    ):
        raise _outside()


def _encodable(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _outside() -> Invalid:
    problem = _("The path is not inside a folder that may be used.")
    return Invalid(problem, {"path": problem})
