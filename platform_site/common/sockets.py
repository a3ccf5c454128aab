"""Who is on the other side of a web socket, and when that ends.

In asgi.py (outermost around the socket routes):

    ProtocolTypeRouter({"http": ..., "websocket": SocketAccess(URLRouter(websocket_urlpatterns))})

A browser comes with its session cookie, and then its Origin has to be exactly this site: a foreign, missing,
"null" or wrong-port Origin is refused in the handshake (HTTP 403). A program comes with a token, in the header
`Authorization: Token KEY` or as the subprotocol `token.KEY` (browsers cannot set headers), and needs no Origin.
The application then runs with

    scope["user"]        the user, or AnonymousUser: accept, say why, close with 4403 (`Access.role` is None)
    scope["access"]      an `Access`: role, scope level, expiry
    scope["subprotocol"] what to accept with: `await self.accept(scope["subprotocol"])`

and in a consumer:

    access = self.scope["access"]
    if not access.allows(Role.VIEWER): ... close(CLOSE_FORBIDDEN)
    groups = access.groups        # live groups; when one is announced, and after every live.RESYNC:
    access = await renewed(access)
    if not access.allows(Role.VIEWER): ... close(CLOSE_FORBIDDEN)
    access.seconds_left()         # None or the time after which it has to be renewed in any case

No database connection is held: each look-up gives its connection back.
"""

import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.http.request import split_domain_port, validate_host
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from . import live, tokens
from .db import released_connections
from .models import ApiToken, User
from .roles import Role, effective_role

CLOSE_BAD_INPUT: Final = 4400
CLOSE_FORBIDDEN: Final = 4403
CLOSE_UNKNOWN: Final = 4404

PROTOCOL: Final = "anneal"
"""A browser program offers ["anneal", "token.KEY"], and the key is not sent back."""
TOKEN_PROTOCOL: Final = "token."  # noqa: S105  a prefix, no secret
_MOST_OFFERS: Final = 8

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class Access:
    """The right of one socket. One of `session_key` and `digest` is set, or neither for a stranger."""

    user: User | AnonymousUser
    role: Role | None
    scope_level: str | None = None
    """The token's scope; None for a session."""
    session_key: str | None = dataclasses.field(default=None, repr=False)
    digest: str | None = dataclasses.field(default=None, repr=False)
    expires_at: datetime | None = None

    def allows(self, role: Role) -> bool:
        return self.role is not None and self.role >= role and self.seconds_left() != 0

    def seconds_left(self) -> float | None:
        """Until session or token expire; None when they do not."""
        if self.expires_at is None:
            return None
        return max(0.0, (self.expires_at - timezone.now()).total_seconds())

    @property
    def groups(self) -> tuple[str, ...]:
        """The live groups on which a change of this right is announced."""
        names = [user_group(self.user.pk)] if self.user.pk is not None else []
        if self.session_key:
            names.append(session_group(self.session_key))
        if self.digest:
            names.append(token_group(self.digest))
        return tuple(names)


STRANGER: Final = Access(user=AnonymousUser(), role=None)


class SocketAccess:
    """ASGI middleware: checks the Origin of sessions and finds the user. Refusal by role is the consumer's."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        offers = list(scope.get("subprotocols") or [])
        key = _token_key(_headers(scope, b"authorization"), offers)
        if key is None and not origin_is_ours(scope):
            await _refuse(receive, send)
            return
        access = await (_by_token(key) if key is not None else _by_session(_session_key(scope)))
        scope = dict(scope)
        scope.update(user=access.user, access=access, scope_level=access.scope_level, subprotocol=_chosen(offers))
        await self.app(scope, receive, send)


async def renewed(access: Access) -> Access:
    """The same socket's right as it is now: STRANGER once it is logged out, revoked or expired."""
    if access.digest is not None:
        return await _in_database(_access_of_digest, access.digest)
    return await _by_session(access.session_key)


def origin_is_ours(scope: Scope) -> bool:
    """Whether the one Origin names this very site, scheme, host and port, or one of CSRF_TRUSTED_ORIGINS."""
    origins, hosts = _headers(scope, b"origin"), _headers(scope, b"host")
    if len(origins) != 1 or len(hosts) != 1:
        return False
    domain, _port = split_domain_port(hosts[0])
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    # Default ports are left out by browsers in both headers.
    if origins[0] == f"{_scheme(scope)}://{hosts[0]}".lower():
        return True
    return origins[0] in settings.CSRF_TRUSTED_ORIGINS and bool(urlsplit(origins[0]).netloc)


def user_group(user_id: int) -> str:
    return f"access.user.{user_id}"


def session_group(session_key: str) -> str:
    """Names the session without giving it away: group names travel through Redis."""
    return "access.session." + hashlib.sha256(session_key.encode()).hexdigest()[:32]


def token_group(digest: str) -> str:
    return "access.token." + hashlib.sha256(digest.encode()).hexdigest()[:32]


def announce_user(user_id: int) -> None:
    """On commit, has every socket of the user look again at what it may."""
    live.push_on_commit(user_group(user_id))


def announce_session(session_key: str) -> None:
    live.push_on_commit(session_group(session_key))


def announce_token(digest: str) -> None:
    live.push_on_commit(token_group(digest))


async def _in_database(look: Callable[[Any], Access], what: Any) -> Access:
    return await sync_to_async(released_connections()(look))(what)


async def _by_token(key: str) -> Access:
    return await _in_database(_access_of_key, key)


async def _by_session(session_key: str | None) -> Access:
    return await _in_database(_access_of_session, session_key) if session_key else STRANGER


def _access_of_key(key: str) -> Access:
    token = tokens.find(key)
    if token is None:
        return STRANGER
    tokens.mark_used(token)
    return _access_of_token(token)


def _access_of_digest(digest: str) -> Access:
    token = ApiToken.objects.select_related("user").filter(digest=digest).first()
    return STRANGER if token is None or tokens.is_expired(token) else _access_of_token(token)


def _access_of_token(token: ApiToken) -> Access:
    return Access(
        user=token.user,
        role=effective_role(token.user, token.scope),
        scope_level=token.scope,
        digest=token.digest,
        expires_at=token.expiry,
    )


def _access_of_session(session_key: str) -> Access:
    """As Django's login does it: living session and user, known backend, and a hash that dies with the password."""
    now = timezone.now()
    session = Session.objects.filter(session_key=session_key, expire_date__gt=now).first()
    kept = session.get_decoded() if session is not None else {}
    if session is None or kept.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return STRANGER
    user = User.objects.filter(pk=kept.get(SESSION_KEY) or 0, is_active=True).first()
    if user is None or not any(
        constant_time_compare(kept.get(HASH_SESSION_KEY) or "", valid)
        for valid in (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    ):
        return STRANGER
    return Access(
        user=user,
        role=effective_role(user, None),
        session_key=session_key,
        expires_at=session.expire_date,
    )


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for header, value in scope.get("headers", ()) if header.lower() == name]


def _scheme(scope: Scope) -> str:
    """http or https as the browser sees it: behind a proxy, by the header that the settings trust."""
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure = settings.SECURE_PROXY_SSL_HEADER
        values = _headers(scope, name.removeprefix("HTTP_").replace("_", "-").lower().encode())
        return "https" if values and values[0].split(",")[0].strip() == secure else "http"
    return "https" if scope.get("scheme") in {"wss", "https"} else "http"


def _token_key(authorization: Iterable[str], offers: Iterable[str]) -> str | None:
    """The key that was given, right or wrong; None when none was, and then the session counts."""
    for value in authorization:
        word, _space, key = value.partition(" ")
        return key.strip() if word.lower() == "token" else ""
    for offer in list(offers)[:_MOST_OFFERS]:
        if offer.startswith(TOKEN_PROTOCOL):
            return offer.removeprefix(TOKEN_PROTOCOL)
    return None


def _session_key(scope: Scope) -> str | None:
    cookies: SimpleCookie = SimpleCookie()
    try:
        for header in _headers(scope, b"cookie"):
            cookies.load(header)
    except CookieError:
        return None
    found = cookies.get(settings.SESSION_COOKIE_NAME)
    return found.value if found is not None else None


def _chosen(offers: list[str]) -> str | None:
    """One of the offered subprotocols, or browsers break off; the one without the key if there is a choice."""
    if PROTOCOL in offers:
        return PROTOCOL
    return next((offer for offer in offers if offer.startswith(TOKEN_PROTOCOL)), None)


async def _refuse(receive: Receive, send: Send) -> None:
    """Ends the handshake: the server answers it with HTTP 403."""
    await receive()
    await send({"type": "websocket.close", "code": CLOSE_FORBIDDEN})
