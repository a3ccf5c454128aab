"""The cast: Alice looks, Bob operates, Charlie administers, Dora has no role. Everybody's password is the same."""

from django.test import Client
from rest_framework.test import APIClient

from platform_site.common import roles, tokens
from platform_site.common.models import User
from platform_site.common.roles import Role

PASSWORD = "correct horse battery"
BACKEND = "django.contrib.auth.backends.ModelBackend"


def person(name: str, role: Role | None) -> User:
    user = User.objects.create_user(name, password=PASSWORD)
    if role is not None:
        roles.grant(user, role)
    return user


def alice() -> User:
    return person("alice", Role.VIEWER)


def bob() -> User:
    return person("bob", Role.OPERATOR)


def charlie() -> User:
    return person("charlie", Role.ADMIN)


def dora() -> User:
    return person("dora", None)


def browser(user: User | None, *, csrf: bool = False) -> Client:
    """A signed-in browser; with `csrf`, one whose missing CSRF tokens are noticed."""
    client = Client(enforce_csrf_checks=csrf, raise_request_exception=False)
    if user is not None:
        client.force_login(user, backend=BACKEND)
    return client


def program(user: User, scope: str = "admin", *, days: int = 1) -> APIClient:
    """A client with a new token of the user's."""
    _token, key = tokens.issue(user, scope=scope, days=days)
    return with_key(key)


def with_key(key: str) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Token {key}")
    return client
