"""What one was told, how one wants to be told, and where messages are sent."""

from typing import Final

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from notifications import forms, selectors
from notifications.kinds import kinds, label_of
from notifications.services import outside, preferences, reading, targets
from platform_site.common.access import request_role
from platform_site.common.errors import PlatformError
from platform_site.common.pages import needs, visitor
from platform_site.common.roles import Role

PAGE_SIZE: Final = 30


@require_GET
@needs(Role.VIEWER)
def notifications(request: HttpRequest) -> HttpResponse:
    """`?status=all`, `?kind=`, `?page=`; the unread ones first to see, by what they are about."""
    status, kind = request.GET.get("status", ""), request.GET.get("kind", "")
    mine = selectors.notifications_for(request.user)
    unread = mine.filter(read_at=None)
    found = mine if status == "all" else unread
    if kind:
        found = found.filter(kind=kind)
    page = Paginator(selectors.by_object(found), PAGE_SIZE).get_page(request.GET.get("page"))
    waiting, whole = unread.count(), mine.count()
    return render(
        request,
        "notifications/list.html",
        {
            "page": page,
            "status": status,
            "kind": kind,
            "kinds": [(one.slug, label_of(one.slug)) for one in kinds()],
            "chips": [("", _("Unread"), waiting), ("all", _("All"), whole)],
            "unread": waiting,
            "nothing_yet": not whole,
        },
    )


@require_POST
@needs(Role.VIEWER)
def read_notification(request: HttpRequest, notification_id: int) -> HttpResponse:
    reading.read(visitor(request), notification_id)
    return _back(request)


@require_POST
@needs(Role.VIEWER)
def read_notifications(request: HttpRequest) -> HttpResponse:
    reading.read_all(visitor(request))
    return _back(request)


def _back(request: HttpRequest) -> HttpResponse:
    target = request.POST.get("next", "")
    if not target.startswith("/") or not url_has_allowed_host_and_scheme(target, allowed_hosts=None):
        return redirect("notifications")
    return HttpResponseRedirect(target)  # `redirect` would take a word for the name of a view


@require_http_methods(["GET", "POST"])
@needs(Role.VIEWER)
def notification_preferences(request: HttpRequest) -> HttpResponse:
    user = visitor(request)
    if request.method == "POST":
        preferences.keep(user, **forms.asked(request.POST, preferences.wishes_for(user), request_role(request)))
        messages.success(request, _("Saved."))
        return redirect("notification-preferences")
    return _preferences(request)


@require_http_methods(["GET", "POST"])
@needs(Role.VIEWER)
def add_target(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        # Whoever comes back to the address of a refused form, as by a change of the language.
        return redirect("notification-preferences")
    name = request.POST.get("name", "")
    try:
        made = targets.add(visitor(request), name, request.POST.get("url", ""))
    except PlatformError as error:
        return _preferences(request, name=name, errors=error.fields or {"url": [error.message]})
    if "test" not in request.POST:
        told = _("%(name)s was added. Send a test to see whether messages arrive.")
        messages.success(request, told % {"name": made.name})
        return redirect("notification-preferences")
    try:
        targets.try_out(made)
    except PlatformError as error:
        told = _("%(name)s was added, but the test message did not arrive: %(why)s")
        messages.error(request, told % {"name": made.name, "why": error.message})
    else:
        messages.success(request, _("%(name)s was added, and took the test message.") % {"name": made.name})
    return redirect("notification-preferences")


def _preferences(request: HttpRequest, *, name: str = "", errors: dict[str, list[str]] | None = None) -> HttpResponse:
    """What was typed as an address is not given back: it is a secret from then on."""
    wishes = preferences.wishes_for(visitor(request))
    mine = list(selectors.targets_for(request.user))
    context = {
        "rows": forms.rows(wishes, request_role(request)),
        "columns": forms.columns(wishes, mine),
        "severities": forms.severities(),
        "wishes": wishes,
        "languages": settings.LANGUAGES,
        "targets": [(target, outside.told(target.problem)) for target in mine],
        "name": name,
        "errors": errors or {},
    }
    return render(request, "notifications/preferences.html", context, status=422 if errors else 200)


@require_POST
@needs(Role.VIEWER)
def try_target(request: HttpRequest, target_id: int) -> HttpResponse:
    """Send a test, and say what came of it."""
    target = selectors.target_for(request.user, target_id)
    try:
        targets.try_out(target)
    except PlatformError as error:
        messages.error(request, f"{target.name}: {error.message}")
    else:
        messages.success(request, _("%(name)s took the test message.") % {"name": target.name})
    return redirect("notification-preferences")


@require_http_methods(["GET", "POST"])
@needs(Role.VIEWER)
def remove_target(request: HttpRequest, target_id: int) -> HttpResponse:
    """GET asks; POST does it."""
    target = selectors.target_for(request.user, target_id)
    if request.method != "POST":
        return render(request, "notifications/remove_target.html", {"target": target})
    targets.remove(target)
    messages.success(request, _("%(name)s was removed.") % {"name": target.name})
    return redirect("notification-preferences")
