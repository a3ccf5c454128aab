"""Sockets know who is there: by session with a strict Origin, or by token; and hear when that ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings as django_settings
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import connections
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from platform_site.common import live, roles, sockets, tokens
from platform_site.common.models import ApiToken, User
from platform_site.common.roles import Role
from platform_site.common.sockets import Access, SocketAccess
from tests import people

pytestmark = pytest.mark.django_db(transaction=True)

OURS = ("http://localhost:8000", "localhost:8000")


class Listener:
    """The smallest socket application: keeps its scope and accepts."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = dict(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocol"]})
        await receive()


async def connect(
    *, origin: str | None = OURS[0], host: str = OURS[1], cookie: str = "", subprotocols: list[str] | None = None,
    headers: list[tuple[bytes, bytes]] | None = None, scheme: str = "ws",
) -> tuple[bool, Any, Access | None]:  # fmt: skip
    sent = [(b"host", host.encode()), *(headers or [])]
    if origin is not None:
        sent.append((b"origin", origin.encode()))
    if cookie:
        sent.append((b"cookie", f"other=1; {django_settings.SESSION_COOKIE_NAME}={cookie}".encode()))
    listener = Listener()
    scope = {
        "type": "websocket",
        "path": "/ws/x/",
        "scheme": scheme,
        "headers": sent,
        "subprotocols": subprotocols or [],
    }
    communicator = ApplicationCommunicator(SocketAccess(listener), scope)
    await communicator.send_input({"type": "websocket.connect"})
    said = await communicator.receive_output(timeout=5)
    connected = said["type"] == "websocket.accept"
    answer = said["subprotocol"] if connected else said["code"]
    if connected:
        await communicator.send_input({"type": "websocket.disconnect", "code": 1000})
    await communicator.wait()
    return connected, answer, listener.scope.get("access")


def signed_in(user: User) -> str:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return str(client.cookies[django_settings.SESSION_COOKIE_NAME].value)


def stranger_or_refused(result: tuple[bool, Any, Access | None]) -> bool:
    connected, _answer, access = result
    return not connected or access is sockets.STRANGER


async def run(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Database work of the test, with its connection given back."""

    def work() -> Any:
        try:
            return function(*arguments, **named)
        finally:
            connections.close_all()

    return await sync_to_async(work)()


async def test_a_browser_on_our_site_is_known_by_its_session() -> None:
    cookie = await run(lambda: signed_in(people.alice()))
    connected, _protocol, access = await connect(cookie=cookie)
    assert connected
    assert access is not None
    assert access.user.get_username() == "alice"
    assert access.role == Role.VIEWER
    assert access.scope_level is None
    assert access.allows(Role.VIEWER)
    assert not access.allows(Role.OPERATOR)
    assert 13 * 86400 < (access.seconds_left() or 0) <= 14 * 86400


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "",
        "http://evil.example",
        "http://evil.example:8000",
        "http://localhost",
        "http://localhost:8001",
        "http://localhost:80000",
        "https://localhost:8000",
        "http://127.0.0.1:8000",
        "http://localhost:8000.evil.example",
        "http://localhost:8000@evil.example",
        "http://localhost:8000/",
        "//localhost:8000",
        "localhost:8000",
        "file://",
    ],
)
async def test_a_wrong_origin_is_refused_in_the_handshake(origin: str | None) -> None:
    cookie = await run(lambda: signed_in(people.charlie()))
    connected, code, access = await connect(cookie=cookie, origin=origin)
    assert not connected
    assert code == sockets.CLOSE_FORBIDDEN
    assert access is None


async def test_two_origins_are_refused() -> None:
    cookie = await run(lambda: signed_in(people.charlie()))
    connected, _code, _access = await connect(cookie=cookie, headers=[(b"origin", b"http://evil.example")])
    assert not connected


async def test_a_host_that_is_not_ours_is_refused_though_the_origin_matches_it() -> None:
    cookie = await run(lambda: signed_in(people.charlie()))
    connected, _code, _access = await connect(cookie=cookie, origin="http://evil.example", host="evil.example")
    assert not connected


async def test_https_behind_a_trusted_proxy_is_seen(settings: Settings) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    cookie = await run(lambda: signed_in(people.alice()))
    secure = [(b"x-forwarded-proto", b"https")]
    assert (await connect(cookie=cookie, origin="https://localhost:8000", headers=secure))[0]
    assert not (await connect(cookie=cookie, origin="http://localhost:8000", headers=secure))[0]


async def test_the_proxy_header_of_a_client_counts_for_nothing_without_a_proxy() -> None:
    cookie = await run(lambda: signed_in(people.alice()))
    secure = [(b"x-forwarded-proto", b"https")]
    assert not (await connect(cookie=cookie, origin="https://localhost:8000", headers=secure))[0]


async def test_a_trusted_origin_of_the_settings_is_taken(settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://anneal.example"]
    cookie = await run(lambda: signed_in(people.alice()))
    assert (await connect(cookie=cookie, origin="https://anneal.example"))[0]


@pytest.mark.parametrize("how", ["header", "subprotocol"])
async def test_a_token_needs_no_origin(how: str) -> None:
    _token, key = await run(lambda: tokens.issue(people.charlie(), scope="operate", days=1))
    given: dict[str, Any] = (
        {"headers": [(b"authorization", f"Token {key}".encode())]}
        if how == "header"
        else {"subprotocols": [f"token.{key}"]}
    )
    for origin in (None, "http://evil.example"):
        connected, protocol, access = await connect(origin=origin, **given)
        assert connected
        assert access is not None
        assert (access.user.get_username(), access.role, access.scope_level) == ("charlie", Role.OPERATOR, "operate")
        assert protocol == (f"token.{key}" if how == "subprotocol" else None)


async def test_the_key_is_not_sent_back_when_there_is_another_subprotocol() -> None:
    _token, key = await run(lambda: tokens.issue(people.alice(), scope="read", days=1))
    _connected, protocol, _access = await connect(origin=None, subprotocols=["anneal", f"token.{key}"])
    assert protocol == "anneal"


@pytest.mark.parametrize("key", ["", "wrong", "anl_" + "0" * 64, "x" * 9999])
async def test_a_wrong_token_is_nobody_even_beside_a_good_session(key: str) -> None:
    cookie = await run(lambda: signed_in(people.charlie()))
    assert stranger_or_refused(await connect(cookie=cookie, subprotocols=[f"token.{key}"]))
    header = [(b"authorization", f"Token {key}".encode())]
    assert stranger_or_refused(await connect(cookie=cookie, headers=header))


@pytest.mark.parametrize("cookie", ["", "nonsense", "a" * 32, '"; DROP'])
async def test_a_wrong_session_is_nobody(cookie: str) -> None:
    connected, _protocol, access = await connect(cookie=cookie)
    assert connected
    assert access is sockets.STRANGER


async def test_an_expired_session_is_nobody() -> None:
    cookie = await run(lambda: signed_in(people.charlie()))
    await run(lambda: Session.objects.update(expire_date=timezone.now()))
    assert (await connect(cookie=cookie))[2] is sockets.STRANGER


@contextlib.asynccontextmanager
async def announcements() -> AsyncIterator["asyncio.Queue[str]"]:
    """Groups that were announced over the real Redis."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    ready = asyncio.Event()

    async def listen() -> None:
        async for event in live.events():
            if isinstance(event, live.Event):
                heard.put_nowait(event.group)
            elif event.up:
                ready.set()

    task = asyncio.create_task(listen())
    await asyncio.wait_for(ready.wait(), 5)
    try:
        yield heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def told(heard: "asyncio.Queue[str]", access: Access) -> bool:
    """Whether one of the socket's groups is announced soon."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            while True:
                if await heard.get() in access.groups:
                    return True
    return False


def log_out(cookie: str) -> None:
    client = Client()
    client.cookies[django_settings.SESSION_COOKIE_NAME] = cookie
    client.post("/admin/logout/")


ENDINGS: dict[str, Callable[[User, str], Any]] = {
    "logout": lambda user, cookie: log_out(cookie),
    "deactivated": lambda user, cookie: deactivate(user),
    "role lost": lambda user, cookie: user.groups.clear(),
    "role lost from the group's side": lambda user, cookie: Group.objects.get(name="admin").user_set.remove(user),
    "role emptied": lambda user, cookie: Group.objects.get(name="admin").user_set.clear(),
    "password changed": lambda user, cookie: change_password(user),
    "user deleted": lambda user, cookie: user.delete(),
}


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def change_password(user: User) -> None:
    user.set_password("another good one")
    user.save()


@pytest.mark.parametrize("name", ENDINGS)
async def test_a_session_socket_hears_of_its_end(name: str) -> None:
    user = await run(people.charlie)
    cookie = await run(lambda: signed_in(user))
    _connected, _protocol, access = await connect(cookie=cookie)
    assert access is not None
    assert (await sockets.renewed(access)).allows(Role.ADMIN)
    async with announcements() as heard:
        await run(ENDINGS[name], user, cookie)
        assert await told(heard, access)
    assert not (await sockets.renewed(access)).allows(Role.VIEWER)


async def test_a_lesser_role_is_a_lesser_right() -> None:
    user = await run(people.charlie)
    cookie = await run(lambda: signed_in(user))
    _connected, _protocol, access = await connect(cookie=cookie)
    assert access is not None
    async with announcements() as heard:
        await run(roles.grant, user, Role.VIEWER)
        assert await told(heard, access)
    renewed = await sockets.renewed(access)
    assert renewed.allows(Role.VIEWER)
    assert not renewed.allows(Role.OPERATOR)


async def test_logging_out_elsewhere_leaves_this_session() -> None:
    user = await run(people.alice)
    here = await run(lambda: signed_in(user))
    there = await run(lambda: signed_in(user))
    _connected, _protocol, access = await connect(cookie=here)
    assert access is not None
    await run(log_out, there)
    assert (await sockets.renewed(access)).allows(Role.VIEWER)


@pytest.mark.parametrize("how", ["revoked", "user deactivated", "expired"])
async def test_a_token_socket_hears_of_its_end(how: str) -> None:
    user = await run(people.bob)
    token, key = await run(lambda: tokens.issue(user, scope="operate", days=1))
    _connected, _protocol, access = await connect(origin=None, subprotocols=[f"token.{key}"])
    assert access is not None
    assert access.allows(Role.OPERATOR)
    assert 0 < (access.seconds_left() or 0) <= 86400
    async with announcements() as heard:
        if how == "revoked":
            await run(tokens.revoke, token)
            assert await told(heard, access)
        elif how == "expired":
            await run(lambda: ApiToken.objects.update(expiry=timezone.now()))
        else:
            await run(deactivate, user)
            assert await told(heard, access)
    assert not (await sockets.renewed(access)).allows(Role.VIEWER)


async def test_signing_in_announces_nothing() -> None:
    user = await run(people.alice)
    cookie = await run(lambda: signed_in(user))
    _connected, _protocol, access = await connect(cookie=cookie)
    assert access is not None
    async with announcements() as heard:
        await run(lambda: signed_in(user))
        assert heard.empty()


async def test_group_names_and_reprs_give_no_credential_away() -> None:
    user = await run(people.alice)
    cookie = await run(lambda: signed_in(user))
    token, key = await run(lambda: tokens.issue(user, scope="read", days=1))
    for access in (
        (await connect(cookie=cookie))[2],
        (await connect(origin=None, subprotocols=[f"token.{key}"]))[2],
    ):
        shown = repr(access) + repr(access.groups if access else ())
        assert cookie not in shown
        assert key not in shown
        assert token.digest not in shown


async def test_an_open_socket_holds_no_database_connection() -> None:
    cookie = await run(lambda: signed_in(people.alice()))
    await connect(cookie=cookie)
    opened = await sync_to_async(lambda: [c.connection for c in connections.all(initialized_only=True)])()
    assert opened == [None] * len(opened)
