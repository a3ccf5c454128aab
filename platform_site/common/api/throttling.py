"""A bound on how often one caller may ask. Generous: it stops runaway loops, not work."""

import threading
import time
from typing import Any, Final

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from ..addresses import client_address

WINDOW_S: Final = 10.0
MOST_IN_WINDOW: Final = 2000
_MOST_CALLERS: Final = 10_000


class CallerThrottle(BaseThrottle):
    """Counts per user (per address for strangers), in this process: no cache that could be away is asked.

    Several web processes allow as many times more, which does no harm to its purpose.
    """

    most = MOST_IN_WINDOW
    window_s = WINDOW_S
    _lock = threading.Lock()
    _counts: dict[tuple[str, str], tuple[float, int]] = {}

    def allow_request(self, request: Request, view: Any) -> bool:
        now = time.monotonic()
        caller = (type(self).__name__, self.get_ident(request))
        with self._lock:
            start, count = self._counts.get(caller, (now, 0))
            if now - start >= self.window_s:
                start, count = now, 0
            if len(self._counts) >= _MOST_CALLERS and caller not in self._counts:
                self._counts.clear()
            self._counts[caller] = (start, count + 1)
        self._left = self.window_s - (now - start)
        return count < self.most

    def wait(self) -> float:
        """Seconds until the window ends."""
        return self._left

    def get_ident(self, request: Request) -> str:
        """Never by a header, which the caller writes."""
        user = request.user
        if user is not None and user.is_authenticated:
            return f"user:{user.pk}"
        return f"address:{client_address(request)}"
