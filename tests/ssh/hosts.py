"""An SSH host that is this machine, as seen by another user."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from environments.models import Host
from environments.transports import connection
from environments.transports.secrets import Secret
from tests.pipelines import builders

from . import sshd
from .network import network

PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="session")
def server() -> Iterator[sshd.Sshd]:
    sshd.need()
    found = sshd.Sshd()
    try:
        found.start()
        yield found
    finally:
        found.remove()


@pytest.fixture(scope="session")
def remote() -> Iterator[sshd.Sshd]:
    """On a network of its own, where this machine gives one."""
    sshd.need()
    found = sshd.Sshd(network())
    try:
        found.start()
        yield found
    finally:
        found.remove()


@pytest.fixture(scope="session")
def account(server: sshd.Sshd) -> sshd.Account:
    return server.account()


@pytest.fixture(scope="session")
def root_account(server: sshd.Sshd) -> sshd.Account:
    """Its user may read what the tests wrote, as that of a host may read what its runs wrote."""
    return server.account(as_root=True)


@pytest.fixture
def proxy(server: sshd.Sshd) -> Iterator[sshd.Proxy]:
    found = sshd.Proxy(server.port)
    yield found
    found.close()


MakeHost = Callable[..., Host]


@pytest.fixture
def make_host(db: None, server: sshd.Sshd, account: sshd.Account) -> Iterator[MakeHost]:
    """A host whose key is enrolled. Fields of its row may be given."""
    made: list[Host] = []

    def make(name: str = "far", **fields: Any) -> Host:
        one = fields.pop("account", account)
        defaults = {
            "kind": Host.Kind.SSH,
            "address": server.address,
            "port": server.port,
            "user": one.name,
            "secret": Secret(private_key=one.private_key).sealed(),
            "root": str(one.home / "anneal"),
            "python": PYTHON,
        }
        host = builders.host(name, **{**defaults, **fields})
        if not host.host_key:
            # Of the sshd itself: what stands between counts its connections, or hands none on.
            shown_by = (host.address, host.port) if "address" in fields else (server.address, server.port)
            with_key = connection.greeted(*shown_by, name)
            host.host_key = connection.key_line(with_key.get_remote_server_key())
            with_key.close()
            host.save()
        made.append(host)
        return host

    yield make
    for host in made:
        connection.forget(host.pk)


@pytest.fixture
def silence(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of one that accepts connections and says nothing, or nothing but what is given as its parameter."""
    accepted: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])
                accepted[-1].sendall(getattr(request, "param", b""))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for one in accepted:
        one.close()
