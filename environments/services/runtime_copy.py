"""The training side's own code on a host: a copy named by its content, so that a run keeps the one it began with."""

import functools
import hashlib
from pathlib import Path

import platform_runtime
from environments.models import Host
from environments.transports import Transport


@functools.cache
def _package() -> tuple[str, dict[str, bytes]]:
    """The package's digest and its files, relative name -> content. Read once: a process keeps what it started with."""
    root = Path(platform_runtime.__file__).parent
    files = {
        str(path.relative_to(root.parent)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.suffix in {".py", ".typed", ".json", ".jinja"} and "__pycache__" not in path.parts
    }
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16], files


def ensure_runtime(host: Host, transport: Transport) -> str:
    """The folder on the host to put on PYTHONPATH. Safe to call at the same time from many places."""
    digest, files = _package()
    folder = f"{host.root}/runtime/{digest}"
    complete = f"{folder}/.complete"
    if transport.stat(complete) is None:
        for name, content in files.items():
            transport.write(f"{folder}/{name}", content)
        # Last, so that a copy cut short is written again.
        transport.write(complete, digest.encode())
    return folder
