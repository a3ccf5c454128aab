"""How the platform reaches a host."""

from collections.abc import Callable

from environments.models import Host

from .base import CommandResult, FileStat, Transport
from .errors import TransportError, Unreachable
from .local import LocalTransport
from .ray import RayTransport

_BY_KIND: dict[str, Callable[[Host], Transport]] = {
    Host.Kind.LOCAL: lambda host: LocalTransport(),
    Host.Kind.RAY: RayTransport,
}


def for_host(host: Host) -> Transport:
    return _BY_KIND[host.kind](host)


__all__ = [
    "CommandResult",
    "FileStat",
    "LocalTransport",
    "Transport",
    "TransportError",
    "Unreachable",
    "for_host",
]
