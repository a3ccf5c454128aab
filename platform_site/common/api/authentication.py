"""Who calls the API: a token in `Authorization: Token KEY`, or a session (then with Django's CSRF check)."""

from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from .. import tokens
from ..models import ApiToken, User

KEYWORD = "Token"


class TokenAuthentication(BaseAuthentication):
    """Our own rather than knox's: that one deletes expired tokens while it reads, and trips over odd bytes."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """User and token; None without an Authorization header of our kind. Raises AuthenticationFailed."""
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != KEYWORD.lower().encode():
            return None
        try:
            key = parts[1].decode("ascii") if len(parts) == 2 else ""
        except UnicodeDecodeError:
            key = ""
        token = tokens.find(key)
        if token is None:
            raise AuthenticationFailed(_("The token is unknown, expired or revoked."))
        tokens.mark_used(token)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """Makes a missing or wrong credential a 401."""
        return KEYWORD
