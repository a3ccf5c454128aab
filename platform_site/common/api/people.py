"""Who calls."""

from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from ..models import User


def signed_in(request: Request) -> User:
    """The user of a request that permissions have let through. Raises NotAuthenticated for a stranger."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user
