"""The set-up scripts on a host: what `setup_env.py` needs of the checkout, and wheels for hosts without an index."""

import functools
import hashlib
import time
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils.translation import gettext as _

from environments.models import Host
from environments.package import package
from environments.training import SETUP
from environments.transports import Transport, TransportError, Unfinished

SCRIPTS: Final = (
    "__init__.py",
    "setup_env.py",
    "verify_env.py",
    "pip_settings.py",
    "installer_errors.py",
    "version.json",
)
WHEELHOUSE: Final = "wheelhouse"
PIECE: Final = 4 << 20
SLICE_S: Final = 45.0


@functools.cache
def scripts(checkout: Path) -> dict[str, bytes]:
    """Name below the set-up folder -> content. Read once: a process keeps what it started with."""
    found = {f"environments/{name}": (checkout / "environments" / name).read_bytes() for name in SCRIPTS}
    found |= {
        f"requirements/{path.name}": path.read_bytes() for path in sorted((checkout / "requirements").glob("*.txt"))
    }
    return found | {f"environments/runtime/{name}": content for name, content in package()[1].items()}


def push_scripts(host: Host, transport: Transport) -> str:
    """The folder on the host in which they stand, and `.training` after them."""
    folder = f"{host.root}/{SETUP}"
    for name, content in scripts(Path(settings.CHECKOUT_DIR)).items():
        transport.write(f"{folder}/{name}", content)
    return folder


def wheels() -> list[Path]:
    """What an administrator put into `<data>/wheelhouse` for hosts that reach no package index."""
    return sorted((Path(settings.DATA_DIR) / WHEELHOUSE).glob("*.whl"))


def push_wheels(host: Host, transport: Transport) -> str:
    """The folder with them on the host. What is there already is not sent again. Raises Unfinished, TransportError.

    They are checked twice: here against what was sent, and by the installer against the hashes of the lock.
    """
    found = wheels()
    if not found:
        raise TransportError(_("There are no wheels in the folder wheelhouse of the platform's data folder."))
    if host.is_local:
        return str(found[0].parent)
    folder, until = f"{host.root}/{SETUP}/{WHEELHOUSE}", time.monotonic() + SLICE_S
    for file in found:
        path, size = f"{folder}/{file.name}", file.stat().st_size
        with file.open("rb") as source:
            sha256 = hashlib.file_digest(source, "sha256").hexdigest()
            there = transport.stat(path)
            if there is not None and there.size == size and transport.digest(path) == sha256:
                continue
            offset = min(transport.part_size(path), size)
            source.seek(offset)
            while piece := source.read(PIECE):
                offset = transport.add_part(path, offset, piece)
                if time.monotonic() > until:
                    raise Unfinished(_("Wheels are being sent: %(name)s.") % {"name": file.name})
        if not transport.end_part(path, sha256):
            raise TransportError(_("What arrived is not what was sent: its hash is another. Try again."))
    return folder
