"""One web socket: accept, check, read, say why not.

Plain ASGI rather than a Channels consumer: a consumer would subscribe each socket to the message broker and hop to
a database thread for every message; here a thousand sockets share one subscription and idle without either.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

import orjson
from django.conf import settings
from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import gettext as _

from platform_site.common.roles import Role
from platform_site.common.sockets import (
    CLOSE_BAD_INPUT,
    CLOSE_FORBIDDEN,
    CLOSE_UNKNOWN,
    STRANGER,
    Access,
    Receive,
    Scope,
    Send,
)

from .outbox import Outbox

_CODES: Final = {CLOSE_BAD_INPUT: "bad_input", CLOSE_FORBIDDEN: "forbidden", CLOSE_UNKNOWN: "not_found"}
_LONGEST_QUERY: Final = 4096


class Refused(Exception):
    """Say why, then close."""

    def __init__(self, close_code: int, message: str) -> None:
        super().__init__(message)
        self.close_code = close_code
        self.message = message


def bad_input(message: str) -> NoReturn:
    raise Refused(CLOSE_BAD_INPUT, message)


def unknown(message: str) -> NoReturn:
    raise Refused(CLOSE_UNKNOWN, message)


def not_allowed() -> Refused:
    return Refused(CLOSE_FORBIDDEN, _("Your role, or the scope of your token, does not allow this."))


class Socket:
    """`access` is renewed by the hub when the right may have changed."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.access: Access = scope.get("access", STRANGER)
        self.language = language_of(scope)
        self.is_json = False
        self._receive = receive
        self._send = send
        self._serving: asyncio.Task[Any] | None = None
        self._ended = False
        self.outbox = Outbox(self._send_text, self._drop)

    @property
    def args(self) -> dict[str, str]:
        """What the address names, e.g. the job."""
        kwargs: dict[str, str] = self.scope["url_route"]["kwargs"]
        return kwargs

    async def serve(self, work: Callable[["Socket"], Awaitable[None]]) -> None:
        """Accept, do `work` until it returns or the client leaves, and close."""
        self._serving = asyncio.current_task()
        if (await self._receive())["type"] != "websocket.connect":
            return
        try:
            await self._send({"type": "websocket.accept", "subprotocol": self.scope.get("subprotocol")})
            try:
                with translation.override(self.language):
                    if not self.access.allows(Role.VIEWER):
                        raise not_allowed()
                    await work(self)
            except Refused as refusal:
                await self._refuse(refusal)
        except asyncio.CancelledError:
            if not self._ended:
                raise
            # Our own `end`, not the server's: the connection closes when this function returns.
            if self._serving is not None:
                self._serving.uncancel()
        except OSError:
            pass  # the client left while we were sending
        finally:
            self.outbox.close()

    async def texts(self) -> AsyncIterator[str | None]:
        """What the client says until it leaves; None for binary messages."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            yield message.get("text")

    async def listen(self) -> None:
        """Wait for the client to leave. It has nothing to say here: whatever it says is an error."""
        async for _text in self.texts():
            bad_input(_("This socket takes no messages."))

    def query(self, known: set[str]) -> dict[str, str]:
        """The query's parameters. Raises Refused for unknown and repeated ones. `format` is always known."""
        raw: bytes = self.scope.get("query_string", b"")
        if len(raw) > _LONGEST_QUERY:
            bad_input(_("The address is too long."))
        try:
            pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
        except ValueError:
            bad_input(_("The address cannot be read."))
        query = dict(pairs)
        strange = sorted(query.keys() - known - {"format"})
        if strange or len(query) != len(pairs):
            bad_input(
                _("Unknown parameter: %(names)s") % {"names": ", ".join(strange)[:200]}
                if strange
                else _("A parameter is given twice.")
            )
        if query.get("format", "html") not in {"html", "json"}:
            bad_input(_("The format is html or json."))
        self.is_json = query.get("format") == "json"
        return query

    def end(self, refusal: Refused | None = None) -> None:
        """Close from outside of `serve`: politely with a reason, otherwise in the normal way."""
        code = refusal.close_code if refusal else 1000
        if refusal:
            self.outbox.offer(_error(refusal))
        self.outbox.finish(lambda: self._send({"type": "websocket.close", "code": code}))

    def _drop(self) -> None:
        """The client takes nothing: let go of it, without waiting for it to take a goodbye."""
        if self._serving is not None and not self._ended:
            self._ended = True
            self._serving.cancel()

    async def _refuse(self, refusal: Refused) -> None:
        self.outbox.close()
        await self._send_text(_error(refusal))
        await self._send({"type": "websocket.close", "code": refusal.close_code})

    async def _send_text(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})


def _error(refusal: Refused) -> str:
    return dumps({"type": "error", "code": _CODES.get(refusal.close_code, "error"), "message": refusal.message})


def dumps(message: Mapping[str, Any]) -> str:
    return orjson.dumps(message).decode()


def language_of(scope: Scope) -> str:
    """The reader's language, found as for a page: by cookie, then by the browser's wish."""
    request = HttpRequest()
    headers = dict(scope.get("headers", ()))
    request.META["HTTP_ACCEPT_LANGUAGE"] = headers.get(b"accept-language", b"").decode("latin-1")
    try:
        cookie = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(settings.LANGUAGE_COOKIE_NAME)
    except CookieError:
        cookie = None
    if cookie is not None:
        request.COOKIES[settings.LANGUAGE_COOKIE_NAME] = cookie.value
    return translation.get_language_from_request(request)


__all__ = ["Refused", "Socket", "bad_input", "dumps", "language_of", "not_allowed", "unknown"]
