"""The right to call: the user's role, cut to the token's scope. Closed by default.

A view that says nothing is read by viewers and written to by operators. `required_role` on the view changes that,
for all methods or by method:

    class AuditList(ApiView):   required_role = Role.ADMIN
    class Hosts(ApiView):       required_role = {"POST": Role.ADMIN, "DELETE": Role.ADMIN}

What is everybody's own is written to by viewers too, but not with a token that is for reading:

    class Targets(ApiView):     required_role, writing_scope = Role.VIEWER, "operate"
"""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from ..access import SAFE_METHODS, default_role, may
from ..models import ApiToken
from ..roles import SCOPE_ROLE, Role


class RolePermission(BasePermission):
    message = _("Your role, or the scope of your token, does not allow this.")

    def has_permission(self, request: Request, view: Any) -> bool:
        method = request.method or ""
        return may(request, needed_role(view, method)) and (method in SAFE_METHODS or _scope_writes(request, view))


def _scope_writes(request: Request, view: Any) -> bool:
    needed: str | None = getattr(view, "writing_scope", None)
    if needed is None or not isinstance(request.auth, ApiToken):
        return True
    scope = SCOPE_ROLE.get(request.auth.scope)
    return scope is not None and scope >= SCOPE_ROLE[needed]


def needed_role(view: Any, method: str) -> Role:
    """What `view` asks of a caller with this method."""
    declared: Role | Mapping[str, Role] | None = getattr(view, "required_role", None)
    if isinstance(declared, Mapping):
        return declared.get(method, default_role(method))
    return declared if declared is not None else default_role(method)
