"""The training side's own code on a host: a copy named by its content, so that a run keeps the one it began with."""

from environments.models import Host
from environments.package import package
from environments.transports import Transport


def ensure_runtime(host: Host, transport: Transport) -> str:
    """The folder on the host to put on PYTHONPATH. Safe to call at the same time from many places."""
    digest, files = package()
    folder = f"{host.root}/runtime/{digest}"
    complete = f"{folder}/.complete"
    if transport.stat(complete) is None:
        for name, content in files.items():
            transport.write(f"{folder}/{name}", content)
        # Last, so that a copy cut short is written again.
        transport.write(complete, digest.encode())
    return folder
