"""Django's admin under our name, for admins alone, behind the platform's one sign-in page."""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache

from .access import may
from .roles import Role


class AnnealAdminSite(AdminSite):
    """Whether one may enter is a matter of role, like everything; `is_staff` plays no part."""

    site_header = gettext_lazy("Anneal administration")
    site_title = gettext_lazy("Anneal")
    index_title = gettext_lazy("People, rights and records")
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        return may(request, Role.ADMIN)

    @method_decorator(never_cache)
    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Whoever is signed in and came here has no right to; others sign in where everybody does."""
        index = request.path.removesuffix("login/")
        if self.has_permission(request):
            return HttpResponseRedirect(index)
        if request.user.is_authenticated:
            raise PermissionDenied(_("Your role does not allow this."))
        return redirect_to_login(request.GET.get("next") or index)
