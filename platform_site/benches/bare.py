"""Sockets with nothing behind them, as the measure of what the server itself costs.

A text that arrives on one socket is sent to all. Run with uvicorn as `platform_site.benches.bare:app`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

_open: set[Callable[[dict[str, Any]], Awaitable[None]]] = set()


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": '{"type":"progress"}'})
    _open.add(send)
    try:
        while (message := await receive())["type"] != "websocket.disconnect":
            for one in list(_open):
                await one({"type": "websocket.send", "text": message["text"]})
    finally:
        _open.discard(send)
