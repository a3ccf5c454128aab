"""Error pages: what happened, and where to go from here. They ask nothing of the database that may be the cause."""

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _


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
    """Rendered without context processors: one of them may be what broke."""
    return HttpResponse(
        render_to_string("500.html", {"told": _("The error is in the log of the web process.")}), status=500
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    told = _("The form was open for too long, or cookies are off. Go back, reload the page and try again.")
    return render(request, "403.html", {"told": told}, status=403)
