"""Error pages: what happened, and where to go from here. They ask nothing of the database that may be the cause."""

import sys

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from platform_site.common.api.errors import PREFIX, body
from platform_site.common.outages import RETRY_AFTER_S, Outage, outage


def _told(exception: Exception | None) -> str:
    text = str(exception.args[0]) if exception is not None and exception.args else ""
    # A resolver's 404 carries a dump of addresses instead of a sentence.
    return text if text and len(text) < 300 and "{" not in text else ""


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    too_big = isinstance(exception, RequestDataTooBig)
    told = _told(exception) if too_big else ""
    return render(request, "400.html", {"told": told}, status=413 if too_big else 400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "403.html", {"told": _told(exception)}, status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "404.html", {"told": _told(exception)}, status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Rendered without context processors: one of them may be what broke. An outage is no fault of the platform's,
    and says what is away."""
    away = outage(sys.exc_info()[1])
    if away is not None:
        return _unavailable(request, away)
    return HttpResponse(
        render_to_string("500.html", {"told": _("The error is in the log of the web process.")}), status=500
    )


def _unavailable(request: HttpRequest, away: Outage) -> HttpResponse:
    answer: HttpResponse
    if request.path.startswith(PREFIX):  # before its views, where REST framework answers: a session, a user
        answer = JsonResponse(body(503, away.message, code=away.code), status=503)
    else:
        answer = HttpResponse(render_to_string("503.html", {"told": away.message}), status=503)
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    told = _("The form was open for too long, or cookies are off. Go back, reload the page and try again.")
    return render(request, "403.html", {"told": told}, status=403)
