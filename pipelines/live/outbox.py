"""What waits to be sent to one client. A client that reads slowly holds up nobody and fills no memory."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

MOST_WAITING: Final = 8
STUCK_S: Final = 30.0
"""A client that takes nothing for this long is dropped; it comes back with its cursor and loses nothing."""


class Outbox:
    """Sends in order, from a task that only lives while something waits."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        drop: Callable[[], None],
        *,
        stuck_s: float = STUCK_S,
    ) -> None:
        """`send` waits until the connection takes the text; `drop` ends a connection that does not."""
        self._send = send
        self._drop = drop
        self._stuck_s = stuck_s
        self._waiting: deque[str] = deque()
        self._task: asyncio.Task[None] | None = None
        self._missed: list[Callable[[], None]] = []
        self._last: Callable[[], Awaitable[None]] | None = None
        self.closed = False

    def offer(self, text: str, missed: Callable[[], None] | None = None) -> bool:
        """Take a text to send. False when too many wait: then `missed` is called as soon as there is room."""
        if self.closed or self._last is not None:
            return False
        if len(self._waiting) >= MOST_WAITING:
            if missed is not None and missed not in self._missed:
                self._missed.append(missed)
            return False
        self._waiting.append(text)
        self._start()
        return True

    def finish(self, last: Callable[[], Awaitable[None]]) -> None:
        """Send what waits, then do `last` (closing the connection), and take nothing any more."""
        if not self.closed and self._last is None:
            self._last = last
            self._start()

    def close(self) -> None:
        """The connection is gone."""
        self.closed = True
        self._waiting.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.wait_for(self._send(self._waiting[0]), self._stuck_s)
                if self._waiting:
                    self._waiting.popleft()
                missed, self._missed = self._missed, []
                for call in missed:
                    call()
            if self._last is not None:
                await asyncio.wait_for(self._last(), self._stuck_s)
        except Exception:
            # Gone or stuck: what was not sent is found again by the cursor.
            self.closed = True
            self._waiting.clear()
            self._drop()
        finally:
            self._task = None
            if self._waiting and not self.closed:
                self._start()
