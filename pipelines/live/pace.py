"""Do something often enough, and not more often."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

logger = logging.getLogger(__name__)

_RETRY_S: Final = 1.0


class Pace:
    """Runs `action` at once when touched, then at most every `interval_s` seconds while it is touched again.

    The last touch is always followed by a run. An action that fails (the database is away) is tried again.
    """

    def __init__(self, interval_s: float, action: Callable[[], Awaitable[None]]) -> None:
        self._interval = interval_s
        self._action = action
        self._due = 0.0
        self._wanted = False
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def touch(self) -> None:
        self._wanted = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def ran(self) -> None:
        """Touch, and wait until a run that began after that has succeeded."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.touch()
        await waiting

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._wanted:
                await asyncio.sleep(max(0.0, self._due - loop.time()))
                self._wanted = False
                self._due = loop.time() + self._interval
                waiting, self._waiting = self._waiting, []
                try:
                    await self._action()
                except Exception:
                    logger.exception("A live update failed; trying again")
                    self._wanted = True
                    self._due = loop.time() + _RETRY_S
                    self._waiting += waiting
                    continue
                for one in waiting:
                    if not one.done():
                        one.set_result(None)
        finally:
            self._task = None
