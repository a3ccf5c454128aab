"""A kept connection to an SSH host, with a few channels that threads share. Nothing secret leaves before the host's
key is the one that was enrolled."""

import base64
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import paramiko
from django.utils.translation import gettext as _
from paramiko.ssh_exception import IncompatiblePeer

from environments.models import Host
from platform_site.common.errors import PlatformError

from .channel import Channel, Lost, Silent
from .errors import KeyChanged, Unreachable, no_connection
from .secrets import Secret

logger = logging.getLogger(__name__)
# What it logs at this level we tell ourselves, with the host's name.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

CONNECT_S: Final = 5.0
HANDSHAKE_S: Final = 10.0
ALIVE_EVERY_S: Final = 15
DEAD_AFTER_MS: Final = 20_000
"""A connection whose peer confirms nothing for so long is dead, whatever it waits for."""
MOST_CHANNELS: Final = 4
"""sshd allows ten a connection unless told otherwise."""
TRY_AGAIN_S: Final = 2.0
"""Nobody waits for a host anew that did not answer just now."""


@dataclass(frozen=True)
class Account:
    """Where and as whom. `secret` is sealed, and opened only when it is sent."""

    name: str
    address: str
    port: int
    user: str
    host_key: str
    root: str
    python: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, host: Host) -> "Account":
        return cls(
            name=host.name,
            address=host.address,
            port=host.port,
            user=host.user,
            host_key=host.host_key,
            root=host.root,
            python=host.python or "python3",
            secret=host.secret,
        )


def opened_socket(address: str, port: int) -> socket.socket:
    """Without Nagle's delay, and noticing a dead peer. Raises OSError."""
    found = socket.create_connection((address, port), timeout=CONNECT_S)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", ALIVE_EVERY_S),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", DEAD_AFTER_MS),
    ):
        if hasattr(socket, name):
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return found


def greeted(address: str, port: int, name: str, *, only: str = "") -> paramiko.Transport:
    """A connection on which keys were exchanged and nobody has logged in yet. `only`: the kind of host key to ask for.

    Raises Unreachable.
    """
    transport: paramiko.Transport | None = None
    try:
        transport = paramiko.Transport(opened_socket(address, port))
        transport.banner_timeout = HANDSHAKE_S
        transport.auth_timeout = HANDSHAKE_S
        if only:
            kinds = ("rsa-sha2-512", "rsa-sha2-256") if only == "ssh-rsa" else (only,)
            transport.get_security_options().key_types = kinds
        transport.start_client(timeout=HANDSHAKE_S)
        if not transport.initial_kex_done:
            # paramiko comes back without a word when its time is over.
            raise TimeoutError
    except (OSError, EOFError, paramiko.SSHException) as error:
        if transport is not None:
            transport.close()
        if isinstance(error, IncompatiblePeer) and only:
            raise KeyChanged(_changed(name)) from error
        where = {"host": name, "address": address, "port": port, "error": no_connection(error)}
        raise Unreachable(_("%(host)s does not answer at %(address)s, port %(port)s: %(error)s") % where) from error
    return transport


def key_line(key: paramiko.PKey) -> str:
    """As in a known_hosts file, without the name."""
    return f"{key.get_name()} {key.get_base64()}"


def fingerprint(line: str) -> str:
    """As `ssh-keygen -l` shows it; empty for no key."""
    if not line:
        return ""
    digest = hashlib.sha256(base64.b64decode(line.split(" ")[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _changed(name: str) -> str:
    return _(
        "The host key of %(host)s is not the one that was enrolled. Nothing secret was sent. Where the host was set up "
        "anew, enrol its key again; otherwise somebody stands in between."
    ) % {"host": name}


class Connection:
    """One TCP connection, made when it is needed and again when it is lost. For any number of threads."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._lock = threading.Lock()
        self._transport: paramiko.Transport | None = None
        self._idle: list[Channel] = []
        self._places = threading.BoundedSemaphore(MOST_CHANNELS)
        self._failed: tuple[float, Unreachable] | None = None

    def ask(
        self, op: str, args: dict[str, Any], body: bytes, timeout_s: float, *, again: bool
    ) -> tuple[dict[str, Any], bytes]:
        """The answer to a request. Raises Unreachable.

        `again`: doing it twice does no harm, so that a channel that was dead already when it was asked costs one
        more try, on a new one. Otherwise nobody knows whether it was done.
        """
        while True:
            with self._channel(timeout_s) as (channel, was_kept):
                try:
                    return channel.ask(op, args, body, timeout_s)
                except Silent as lost:
                    self.close()
                    raise self._unreachable(lost) from lost
                except Lost as lost:
                    channel.close()
                    if not (again and was_kept):
                        raise self._unreachable(lost) from lost

    def follow(self) -> Channel:
        """A channel of its own, which whoever asked for it closes. Raises Unreachable."""
        try:
            return self._open()
        except Lost as lost:
            raise self._unreachable(lost) from lost

    def close(self) -> None:
        with self._lock:
            transport, self._transport, self._idle = self._transport, None, []
        if transport is not None:
            transport.close()

    @contextmanager
    def _channel(self, timeout_s: float) -> Iterator[tuple[Channel, bool]]:
        """A channel that nobody else has, and whether it was there before."""
        if not self._places.acquire(timeout=timeout_s):
            raise self._unreachable(Lost(_("all channels are busy")))
        try:
            kept = self._kept()
            try:
                channel = kept or self._open()
            except Lost as lost:
                raise self._unreachable(lost) from lost
            whole = False
            try:
                yield channel, kept is not None
                whole = True
            finally:
                # Also where a thread was interrupted between request and answer: the next would get the wrong one.
                if whole and channel.alive:
                    with self._lock:
                        self._idle.append(channel)
                else:
                    channel.close()
        finally:
            self._places.release()

    def _kept(self) -> Channel | None:
        with self._lock:
            while self._idle:
                channel = self._idle.pop()
                if channel.alive and self._transport is not None and self._transport.is_active():
                    return channel
                channel.close()
        return None

    def _open(self) -> Channel:
        account = self.account
        return Channel.over(self._connected(), python=account.python, root=account.root)

    def _connected(self) -> paramiko.Transport:
        with self._lock:
            if self._transport is not None and self._transport.is_active():
                return self._transport
            if self._failed is not None and time.monotonic() - self._failed[0] < TRY_AGAIN_S:
                raise self._failed[1]
            try:
                self._idle = []
                self._transport = self._log_in()
            except Unreachable as error:
                self._failed = (time.monotonic(), error)
                raise
            self._failed = None
            return self._transport

    def _log_in(self) -> paramiko.Transport:
        account = self.account
        if not account.host_key:
            raise Unreachable(_("The host key of %(host)s is not enrolled yet.") % {"host": account.name})
        transport = greeted(account.address, account.port, account.name, only=account.host_key.split(" ")[0])
        try:
            if key_line(transport.get_remote_server_key()) != account.host_key:
                raise KeyChanged(_changed(account.name))
            self._authenticate(transport)
        except BaseException:
            transport.close()
            raise
        transport.set_keepalive(ALIVE_EVERY_S)
        return transport

    def _authenticate(self, transport: paramiko.Transport) -> None:
        account = self.account
        if not account.secret:
            raise Unreachable(
                _("%(host)s has no credentials: enter a password or a private key.") % {"host": account.name}
            )
        try:
            secret = Secret.opened(account.secret)
            if secret.private_key:
                transport.auth_publickey(account.user, secret.key())
            else:
                transport.auth_password(account.user, secret.password)
        except paramiko.AuthenticationException as error:
            told = _("%(host)s does not let %(user)s in: the password or key is refused.")
            raise Unreachable(told % {"host": account.name, "user": account.user}) from error
        except PlatformError as error:
            raise Unreachable(f"{account.name}: {error.message}") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._unreachable(Lost(no_connection(error))) from error

    def _unreachable(self, lost: Lost) -> Unreachable:
        return Unreachable(
            _("%(host)s does not answer: %(error)s") % {"host": self.account.name, "error": str(lost) or "?"}
        )


_connections: dict[int, Connection] = {}
_lock = threading.Lock()


def connection_to(host: Host) -> Connection:
    """This process's connection to a host. What was changed of the host counts at once."""
    account = Account.of(host)
    with _lock:
        kept = _connections.get(host.pk)
        if kept is not None and kept.account == account:
            return kept
        made = _connections[host.pk] = Connection(account)
    if kept is not None:
        kept.close()
    return made


def forget(host_id: int) -> None:
    """Close what is kept to a host that is no more."""
    with _lock:
        kept = _connections.pop(host_id, None)
    if kept is not None:
        kept.close()
