"""The right of an HTTP request, worked out once and kept on it, and the guard of every page.

Pages are closed by default (`PageGuard`): reading a view takes the role VIEWER, anything else OPERATOR. A view
that wants more, or less, says so:

    @requires(Role.ADMIN)
    def hosts(request): ...

    @requires(None)                    # anybody who is signed in, e.g. signing out
    @login_not_required                # Django's own: nobody has to be signed in
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from django.contrib.auth.views import LogoutView, PasswordChangeDoneView, PasswordChangeView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _

from .models import ApiToken
from .roles import Role, effective_role

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_ACCOUNT: Final = (LogoutView, PasswordChangeView, PasswordChangeDoneView)
"""Django's views on one's own account, open to all who are signed in."""

View = TypeVar("View", bound=Callable[..., Any])


def requires(role: Role | None) -> Callable[[View], View]:
    """Sets the role a page view asks for, whatever the method. None: signed in is enough."""

    def mark(view: View) -> View:
        view.required_role = role  # type: ignore[attr-defined]  # a mark on a function
        return view

    return mark


def request_role(request: Any) -> Role | None:
    """The right of a Django or REST framework request: role of its user, cut to the scope of its token."""
    user = getattr(request, "user", None)
    token = getattr(request, "auth", None)
    scope = token.scope if isinstance(token, ApiToken) else None
    kept = getattr(request, "_anneal_role", None)
    asked = (getattr(user, "pk", None), scope)
    if kept is not None and kept[0] == asked:
        known: Role | None = kept[1]
        return known
    role = effective_role(user, scope)
    request._anneal_role = (asked, role)
    return role


def default_role(method: str | None) -> Role:
    """What a view asks for that says nothing: reading is for viewers, anything else for operators."""
    return Role.VIEWER if method in SAFE_METHODS else Role.OPERATOR


def may(request: Any, role: Role) -> bool:
    """Whether the request has at least this right."""
    have = request_role(request)
    return have is not None and have >= role


def role(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `role` (its name or ""), `can_operate`, `can_administer`; asks when a template does."""
    return {
        "role": _Later(request, lambda have: have.slug if have else ""),
        "can_operate": _Later(request, lambda have: have is not None and have >= Role.OPERATOR),
        "can_administer": _Later(request, lambda have: have is not None and have >= Role.ADMIN),
    }


class _Later:
    """A value that templates call for; nothing is looked up for a page that does not show it."""

    def __init__(self, request: HttpRequest, answer: Callable[[Role | None], Any]) -> None:
        self._request = request
        self._answer = answer

    def __call__(self) -> Any:
        return self._answer(request_role(self._request))


class PageGuard:
    """Middleware, after AuthenticationMiddleware and LoginRequiredMiddleware: refuses pages by role.

    REST views guard themselves (`api.permissions`): they know tokens, which no middleware sees. They carry
    `login_required = False`, like all views that are open to strangers.
    """

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        open_to_all = not getattr(view, "login_required", True)
        if open_to_all or issubclass(getattr(view, "view_class", object), OWN_ACCOUNT):
            return None
        needed: Role | None = getattr(view, "required_role", default_role(request.method))
        if needed is not None and not may(request, needed):
            raise PermissionDenied(_("Your role does not allow this."))
        return None
