"""Every address for everybody, against the table in `matrix`; CSRF on mutations; GET changes nothing."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework.settings import api_settings

from platform_site.common.access import SAFE_METHODS
from platform_site.common.api.idempotency import IdempotentPosts
from platform_site.common.models import Project, User
from tests import people

from .matrix import (
    ADMIN,
    ANY_METHOD,
    API,
    API_PREFIX,
    EVERYONE,
    FALLBACK,
    OPERATOR,
    READ_BY_POST,
    ROUTES,
    SIGNED_IN,
    VIEWER,
)  # fmt: skip

pytestmark = pytest.mark.django_db

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CAST: dict[str, tuple[Callable[[], User | None], int]] = {
    "anonymous": (lambda: None, EVERYONE),
    "no role": (people.dora, SIGNED_IN),
    "viewer": (people.alice, VIEWER),
    "operator": (people.bob, OPERATOR),
    "admin": (people.charlie, ADMIN),
}
SAMPLES = {"uuid": "00000000-0000-4000-8000-000000000000", "int": "1", "slug": "nothing", "str": "nothing", "path": "1"}


def walk(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, prefix + str(pattern.pattern))
        else:
            yield prefix + str(pattern.pattern), pattern.callback


def routes() -> dict[str, Any]:
    return dict(walk(get_resolver().url_patterns))


def is_admin(route: str) -> bool:
    return route.startswith("admin/")


def address_of(route: str) -> str:
    """An address that the route takes, of an object that is not there."""
    if route == FALLBACK:
        return "/api/v1/no/such/address/"
    filled = re.sub(r"<(?:(\w+):)?\w+>", lambda found: SAMPLES[found[1] or "str"], _without_regex(route))
    return "/" + filled


def _without_regex(route: str) -> str:
    route = re.sub(r"\(\?P<\w+>([^)|]*)[^)]*\)", lambda found: "x" if ".*" in found[1] else found[1], route)
    return route.replace("^", "").replace("$", "")


def test_every_route_is_in_the_table_and_every_row_is_a_route() -> None:
    found = {route for route in routes() if not is_admin(route)} - {FALLBACK}
    assert found - set(ROUTES) == set(), "give each new route its row in tests/security/matrix.py"
    assert set(ROUTES) - found == set(), "these rows stand for nothing"


def test_no_route_is_given_twice() -> None:
    found = [route for route, _view in walk(get_resolver().url_patterns)]
    assert sorted({route for route in found if found.count(route) > 1 and not is_admin(route)}) == []


class Clients:
    """One user's ways in: a token for the API, a session for pages. Signing out is undone."""

    def __init__(self, user: User | None, *, csrf: bool = False) -> None:
        self.user = user
        self._program = people.program(user) if user is not None and not csrf else None
        self._browser = people.browser(user, csrf=csrf)

    def ask(self, method: str, route: str) -> Any:
        if self._program is not None and route.startswith(API_PREFIX):
            return getattr(self._program, method.lower())(address_of(route), format="json")
        sent = {"content_type": "application/json"} if route.startswith(API_PREFIX) and method != "GET" else {}
        response = getattr(self._browser, method.lower())(address_of(route), **sent)
        if self.user is not None and "logout" in route:
            self._browser.force_login(self.user, backend=people.BACKEND)
        return response


def refused(route: str, user: User | None, response: Any) -> bool:
    """Refused in the way that fits: API 401 or 403; pages to the sign-in page or 403."""
    if user is not None:
        return bool(response.status_code == 403)
    if route.startswith("api/"):
        return bool(response.status_code == 401)
    return response.status_code == 302 and response.headers["Location"].startswith(reverse("login"))


def let_in(response: Any) -> bool:
    """Whatever the view says, it was asked. 503 is readyz without workers."""
    if response.status_code == 302 and response.headers["Location"].startswith(reverse("login") + "?"):
        return False
    return response.status_code not in {401, 403, 405} and (response.status_code < 500 or response.status_code == 503)


@pytest.mark.parametrize("who", CAST)
def test_the_table_holds(who: str) -> None:
    make, right = CAST[who]
    clients = Clients(make())
    wrong = []
    for route, row in ROUTES.items():
        for method, needed in row.items():
            response = clients.ask(method, route)
            if not (let_in(response) if right >= needed else refused(route, clients.user, response)):
                wrong.append((method, route, response.status_code, response.content[:200]))
    assert wrong == []


def test_a_token_that_is_for_reading_changes_nothing() -> None:
    """Whoever holds it: an admin here, who may everything without it."""
    client = people.program(people.charlie(), scope="read")
    wrong = []
    asked = 0
    for route, row in API.items():
        for method in set(row) - SAFE_METHODS:
            response = getattr(client, method.lower())(address_of(API_PREFIX + route), format="json")
            asked += 1
            if (response.status_code == 403) == (route in READ_BY_POST):
                wrong.append((method, route, response.status_code))
    assert wrong == []
    assert asked > 40


def test_other_methods_are_not_taken() -> None:
    clients = Clients(people.charlie())
    wrong = [
        (method, route)
        for route in set(ROUTES) - ANY_METHOD
        for method in set(METHODS) - set(ROUTES[route])
        if clients.ask(method, route).status_code != 405
    ]
    assert wrong == []


@pytest.mark.parametrize("who", CAST)
def test_unknown_addresses_tell_strangers_nothing(who: str) -> None:
    clients = Clients(CAST[who][0]())
    expected = {"anonymous": 401, "no role": 403}.get(who, 404)
    assert {clients.ask(method, FALLBACK).status_code for method in METHODS} == {expected}


@pytest.mark.parametrize("who", CAST)
def test_the_admin_pages_are_for_admins(who: str) -> None:
    make, right = CAST[who]
    clients = Clients(make())
    wrong = []
    asked = 0
    for route in filter(is_admin, routes()):
        for method in ("GET", "POST"):
            response = clients.ask(method, route)
            asked += 1
            fine = response.status_code < 500 if right == ADMIN else refused(route, clients.user, response)
            # A redirect deeper into the admin pages asks the same question again there.
            if not fine and not (right < ADMIN and inward(response)):
                wrong.append((method, route, response.status_code))
    assert wrong == []
    assert asked > 50


def inward(response: Any) -> bool:
    """A redirect that leads deeper into the admin pages only, where the same question is asked again."""
    return response.status_code in {301, 302} and response.headers["Location"].startswith("/admin/")


def test_every_mutation_wants_a_csrf_token_from_a_session() -> None:
    clients = Clients(people.charlie(), csrf=True)
    asked = [(method, route) for route, row in ROUTES.items() for method in row if method not in SAFE_METHODS]
    asked += [("POST", route) for route in routes() if is_admin(route)]
    wrong = [(method, route) for method, route in asked if clients.ask(method, route).status_code != 403]
    assert wrong == []
    assert len(asked) > 50


def snapshot() -> dict[str, Any]:
    """All rows but those that remember the visit itself."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table not in {"django_session", "common_apitoken"}:
                cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608  names from the database itself
                found[table] = cursor.fetchall()
    return found


@pytest.mark.parametrize("admin_pages", [False, True])
def test_reading_changes_nothing(admin_pages: bool) -> None:
    charlie = people.charlie()
    Project.objects.create(slug="default", name="Default")
    clients = [people.program(charlie), people.browser(charlie)]
    before = snapshot()
    for route in sorted(filter(is_admin, routes()) if admin_pages else ROUTES):
        for client in clients:
            for method in ("get", "head", "options"):
                getattr(client, method)(address_of(route))
    assert snapshot() == before


def rest_views() -> dict[str, Any]:
    return {route: view.cls for route, view in routes().items() if hasattr(view, "cls")}


def test_every_rest_view_stands_behind_the_common_guard() -> None:
    for route, view in rest_views().items():
        assert view.permission_classes == api_settings.DEFAULT_PERMISSION_CLASSES, route
        assert view.authentication_classes == api_settings.DEFAULT_AUTHENTICATION_CLASSES, route


def test_every_post_takes_an_idempotency_key() -> None:
    views = rest_views()
    for route, row in ROUTES.items():
        if route.startswith(API_PREFIX) and "POST" in row:
            assert issubclass(views[route], IdempotentPosts), route


def test_no_other_site_may_read_the_answers() -> None:
    client = people.program(people.charlie())
    for method in ("get", "options"):
        response = getattr(client, method)("/api/v1/projects/", HTTP_ORIGIN="https://evil.example")
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]
    assert "corsheaders" not in django_settings.INSTALLED_APPS
