"""How a run is started on a host. One line a kind; how it is looked at and ended is its transport's."""

from collections.abc import Callable

from environments.models import Host
from environments.transports import Transport

from . import process, ray
from .base import Launch

_BY_KIND: dict[str, Callable[[Host, Launch, Transport], None]] = {
    Host.Kind.LOCAL: lambda host, launch, transport: process.start(launch, transport),
    Host.Kind.SSH: lambda host, launch, transport: process.start(launch, transport),
    Host.Kind.RAY: ray.start,
}


def start(host: Host, launch: Launch, transport: Transport) -> None:
    """Start it and return. Harmless to call again for the same attempt, also at the same time.

    Raises Unreachable where nobody knows whether it was started, TransportError where it was not.
    """
    _BY_KIND[host.kind](host, launch, transport)


__all__ = ["Launch", "start"]
