"""What every page's view does first and last: who may see it, and expected errors as error pages."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _

from .access import request_role, requires
from .errors import Forbidden, NotFound
from .models import User
from .roles import Role

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def needs(role: Role) -> Callable[[View[P]], View[P]]:
    """For people who signed in and have at least `role`. The view finds what they have in `request.role`."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            held = request_role(request)
            if held is None:
                raise PermissionDenied(_("Your account has no role yet. Ask an administrator for one."))
            if held < role:
                raise PermissionDenied(_("This needs the role %(role)s.") % {"role": role.slug})
            request.role = held  # type: ignore[attr-defined]  # read by `may_operate`
            try:
                return view(request, *args, **kwargs)
            except NotFound as error:
                raise Http404(error.message) from error
            except Forbidden as error:
                raise PermissionDenied(error.message) from error

        # The mark tells `access.PageGuard`, which would ask for the default of the method otherwise.
        return login_required(requires(role)(guarded))

    return decorate


def may_operate(request: HttpRequest) -> bool:
    """Whether the visitor of a page guarded by `needs` may start and cancel things."""
    held: Role | None = getattr(request, "role", None)
    return held is not None and held >= Role.OPERATOR


def visitor(request: HttpRequest) -> User:
    """Whoever looks at a page guarded by `needs`."""
    assert isinstance(request.user, User), "`needs` lets nobody else in"
    return request.user
