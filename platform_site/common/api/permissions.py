"""The right to call: the user's role, cut to the token's scope. Closed by default.

A view that says nothing is read by viewers and written to by operators. `required_role` on the view changes that,
for all methods or by method:

    class AuditList(ApiView):   required_role = Role.ADMIN
    class Hosts(ApiView):       required_role = {"POST": Role.ADMIN, "DELETE": Role.ADMIN}
"""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from ..access import default_role, may
from ..roles import Role


class RolePermission(BasePermission):
    message = _("Your role, or the scope of your token, does not allow this.")

    def has_permission(self, request: Request, view: Any) -> bool:
        return may(request, needed_role(view, request.method or ""))


def needed_role(view: Any, method: str) -> Role:
    """What `view` asks of a caller with this method."""
    declared: Role | Mapping[str, Role] | None = getattr(view, "required_role", None)
    if isinstance(declared, Mapping):
        return declared.get(method, default_role(method))
    return declared if declared is not None else default_role(method)
