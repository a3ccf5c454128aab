"""How the platform reaches a host."""

from collections.abc import Callable

from environments.models import Host

from .base import CommandResult, FileStat, Tail, Transport
from .connection import connection_to
from .errors import KeyChanged, TransportError, Unfinished, Unreachable
from .local import LocalTransport
from .ray import RayTransport
from .ssh import SshTransport

_BY_KIND: dict[str, Callable[[Host], Transport]] = {
    Host.Kind.LOCAL: lambda host: LocalTransport(),
    Host.Kind.SSH: lambda host: SshTransport(connection_to(host)),
    Host.Kind.RAY: RayTransport,
}


def for_host(host: Host) -> Transport:
    return _BY_KIND[host.kind](host)


__all__ = [
    "CommandResult",
    "FileStat",
    "KeyChanged",
    "LocalTransport",
    "Tail",
    "Transport",
    "TransportError",
    "Unfinished",
    "Unreachable",
    "for_host",
]
