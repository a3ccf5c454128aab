"""What happens to every request: one line in the log, no NUL in an address, and API addresses with or without the
trailing slash."""

import logging
import time
from collections.abc import Callable
from typing import Final

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import LazyObject, empty

log = logging.getLogger("anneal.request")

QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for by machines every few seconds, and not logged: they tell the state of parts that have logs of their own."""

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class RequestLog:
    """Logs method, path, status, time and user. Never the query, headers or body: they can hold secrets."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        start = time.monotonic()
        response = self.get_response(request)
        if request.path not in QUIET:
            log.log(
                logging.ERROR if response.status_code >= 500 else logging.INFO,
                "%s %s %s",
                request.method,
                request.path,
                response.status_code,
                extra={
                    "method": request.method,
                    "path": request.path,
                    "status": response.status_code,
                    "ms": round((time.monotonic() - start) * 1000, 1),
                    "user": _known_user(request),
                    "address": request.META.get("REMOTE_ADDR"),
                },
            )
        return response


def _known_user(request: HttpRequest) -> int | None:
    """The user's key if the view looked the user up; the log asks no question of the database."""
    user = request.__dict__.get("user")
    if user is None or (isinstance(user, LazyObject) and user._wrapped is empty):
        return None
    key = getattr(user, "pk", None)
    return key if isinstance(key, int) else None


class NoNul:
    """Refuses the one character that PostgreSQL stores in no text, and no path of a file can have: it would be an error
    of the database wherever it came that far."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "%00" in request.META.get("QUERY_STRING", "") or "\0" in request.path_info:
            raise SuspiciousOperation("There is a NUL in the address.")
        return self.get_response(request)


class ApiSlash:
    """Serves `/api/v1/x` as `/api/v1/x/`: a redirect would lose the body of a POST."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/api/v1/") and not request.path_info.endswith("/"):
            request.path_info += "/"
            request.path += "/"
        return self.get_response(request)
