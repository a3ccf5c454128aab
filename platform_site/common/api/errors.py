"""One shape for every error of the API:

    {"error": {"code": "unknown_field", "message": "…for people…", "fields": {"stages.1.name": ["…"]}}}

`handler` is REST framework's exception handler; `ApiErrors` is the middleware that gives the same shape to whatever
happens outside of its views: unknown addresses, crashes, refused hosts.
"""

import json
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import NON_FIELD_ERRORS as DJANGO_NON_FIELD
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from ..errors import PlatformError
from ..outages import RETRY_AFTER_S, outage

log = logging.getLogger(__name__)

PREFIX: Final = "/api/"
CODES: Final = {
    400: "bad_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    411: "length_required",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "throttled",
    500: "internal",
    503: "unavailable",
}


def body(
    status: int,
    message: str,
    *,
    code: str | None = None,
    fields: Mapping[str, list[str]] | None = None,
    details: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """The error as JSON. `details` adds further keys beside code, message and fields."""
    error: dict[str, Any] = {"code": code or CODES.get(status, "error"), "message": message}
    if fields:
        error["fields"] = dict(fields)
    for name, value in (details or {}).items():
        error.setdefault(name, value)
    return {"error": error}


def handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answers expected exceptions. None, and so a logged 500, for all others: their text is for the log alone."""
    answer = _answer(exc)
    if answer is None:
        return None
    status, content, headers = answer
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("The API answered %s: %s", status, exc)
    set_rollback()
    return Response(content, status=status, headers=headers)


def _answer(exc: Exception) -> tuple[int, dict[str, Any], dict[str, str]] | None:
    if isinstance(exc, PlatformError):
        content = body(exc.http_status, exc.message, code=exc.code, fields=exc.fields, details=exc.details)
        return exc.http_status, content, {}
    if isinstance(exc, exceptions.APIException):
        return _of_rest_framework(exc)
    if isinstance(exc, Http404):
        return 404, body(404, missing()), {}
    if isinstance(exc, PermissionDenied):
        return 403, body(403, str(exc) or _("You may not do this.")), {}
    if isinstance(exc, DjangoValidationError):
        fields = _django_fields(exc)
        return 422, body(422, _summary(fields, exc.messages), fields=fields), {}
    if isinstance(exc, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent):
        return 413, body(413, _("The request is larger than the platform takes.")), {}
    if isinstance(exc, SuspiciousOperation | UnreadablePostError):
        return 400, body(400, _("The request could not be read.")), {}
    if isinstance(exc, ProtectedError | RestrictedError):
        return 409, body(409, _("It is still used elsewhere and cannot be deleted."), code="in_use"), {}
    if away := outage(exc):
        return 503, body(503, away.message, code=away.code), {"Retry-After": str(RETRY_AFTER_S)}
    return None


def missing() -> str:
    return _("There is nothing at this address, or nothing that you may see.")


def _of_rest_framework(exc: exceptions.APIException) -> tuple[int, dict[str, Any], dict[str, str]]:
    headers: dict[str, str] = {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = exc.auth_header  # type: ignore[attr-defined]  # set by APIView
    status = exc.status_code
    if isinstance(exc, exceptions.Throttled):
        wait: float | None = getattr(exc, "wait", None)
        if wait is not None:
            headers["Retry-After"] = str(int(wait) + 1)
        return status, body(status, _("Too many requests. Try again a little later.")), headers
    if isinstance(exc, exceptions.ValidationError):
        fields = flatten(exc.detail)
        general = fields.pop("", [])
        code = "unknown_field" if "unknown_field" in _codes(exc.get_codes()) else None
        return status, body(status, _summary(fields, general), code=code, fields=fields), headers
    if isinstance(exc, exceptions.ParseError):
        return status, body(status, str(exc.detail), code="malformed"), headers
    if isinstance(exc, exceptions.NotFound):
        return status, body(status, missing()), headers
    detail = exc.detail if isinstance(exc.detail, str) else " ".join(flatten(exc.detail).get("", []))
    return status, body(status, str(detail)), headers


def flatten(detail: Any, path: str = "") -> dict[str, list[str]]:
    """Nested serializer errors as `{dotted name: [messages]}`; errors of the whole stand under their parent's
    name, those of the whole request under ""."""
    if isinstance(detail, Mapping):
        found: dict[str, list[str]] = {}
        for name, inner in detail.items():
            whole = str(name) in {api_settings.NON_FIELD_ERRORS_KEY, DJANGO_NON_FIELD}
            for key, messages in flatten(inner, path if whole else _join(path, name)).items():
                found.setdefault(key, []).extend(messages)
        return found
    if isinstance(detail, list | tuple):
        found = {}
        for number, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list | tuple)
            for key, messages in flatten(inner, _join(path, number) if nested else path).items():
                found.setdefault(key, []).extend(messages)
        return found
    return {path: [str(detail)]}


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _codes(codes: Any) -> set[str]:
    if isinstance(codes, Mapping):
        return set().union(*map(_codes, codes.values())) if codes else set()
    if isinstance(codes, list | tuple):
        return set().union(*map(_codes, codes)) if codes else set()
    return {str(codes)}


def _summary(fields: Mapping[str, list[str]], general: list[str]) -> str:
    """One sentence for people: what is wrong with the whole, or else with the first field."""
    if general:
        return " ".join(general)
    name, messages = next(iter(fields.items()), ("", [""]))
    first = f"{name}: {messages[0]}" if name else messages[0]
    others = len(fields) - 1
    if others < 1:
        return first
    return _("{first} ({others} more)").format(first=first, others=others)


def _django_fields(exc: DjangoValidationError) -> dict[str, list[str]]:
    if not hasattr(exc, "error_dict"):
        return {}
    return {name: messages for name, messages in exc.message_dict.items() if name != DJANGO_NON_FIELD}


class ApiErrors:
    """Middleware, as far out as possible: an error below /api/ that is not in our shape yet gets it.

    The text of the original never leaves: it can be Django's debug page or an exception's message.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._acall(request)
        return shaped(request, without_length(request) or self.get_response(request))

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        return shaped(request, without_length(request) or await self.get_response(request))


def without_length(request: HttpRequest) -> HttpResponse | None:
    """Refuses a body in chunks of unknown sum: REST framework would take it for empty, and nobody could bound it."""
    chunked = "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH")
    return HttpResponse(status=HTTPStatus.LENGTH_REQUIRED) if chunked and request.path.startswith(PREFIX) else None


def shaped(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The response itself, or its error in the API's shape."""
    status = response.status_code
    if not request.path.startswith(PREFIX) or status < HTTPStatus.BAD_REQUEST:
        return response
    if response.headers.get("Content-Type", "").startswith(("application/json", "application/vnd.oai.openapi")):
        return response
    plain = HttpResponse(
        json.dumps(body(status, _words(status)), ensure_ascii=False), status=status, content_type="application/json"
    )
    for name, value in response.headers.items():
        if not name.lower().startswith("content-") or name.lower() == "content-security-policy":
            plain.headers[name] = value
    plain.cookies = response.cookies
    return plain


def _words(status: int) -> str:
    words = {
        400: _("The request could not be read."),
        401: _("Sign in, or send a token."),
        403: _("You may not do this."),
        404: missing(),
        405: _("This address does not take that method."),
        411: _("Send the request with its Content-Length."),
        413: _("The request is larger than the platform takes."),
        429: _("Too many requests. Try again a little later."),
        503: _("The platform cannot answer right now. Try again in a moment."),
    }
    return words.get(status) or _("Something went wrong inside the platform. Its log says what.")
