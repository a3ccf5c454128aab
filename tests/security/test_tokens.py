"""API tokens: hashed at rest, shown once, scoped, expiring, revocable."""

import io
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from platform_site.common import tokens
from platform_site.common.errors import Invalid
from platform_site.common.models import ApiToken, AuditEvent, User
from tests import people

pytestmark = pytest.mark.django_db


def everything_stored() -> str:
    """The whole database as text."""
    found: list[Any] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608  names from the database itself
            found += cursor.fetchall()
    return repr(found)


def test_the_key_stands_nowhere_in_the_database() -> None:
    token, key = tokens.issue(people.bob(), scope="operate", days=30, name="laptop")
    people.with_key(key).get("/api/v1/projects/")
    stored = everything_stored()
    assert key not in stored
    assert key.removeprefix(tokens.PREFIX) not in stored
    assert token.digest in stored
    assert key not in str(token)


def test_keys_are_long_and_differ() -> None:
    bob = people.bob()
    keys = {tokens.issue(bob, scope="read", days=1)[1] for _ in range(5)}
    assert len(keys) == 5
    assert all(key.startswith("anl_") and len(key) >= 64 for key in keys)


@pytest.mark.parametrize(
    ("scope", "read", "operate", "administer"),
    [("read", 200, 403, 403), ("operate", 200, 400, 403), ("admin", 200, 400, 200)],
)
def test_a_scope_narrows_an_admin(scope: str, read: int, operate: int, administer: int) -> None:
    client = people.program(people.charlie(), scope=scope)
    assert client.get("/api/v1/projects/").status_code == read
    assert client.post("/api/v1/jobs/", {}).status_code == operate
    assert client.get("/api/v1/audit/").status_code == administer


def test_a_scope_never_widens_a_role() -> None:
    client = people.program(people.alice(), scope="admin")
    assert client.get("/api/v1/projects/").status_code == 200
    assert client.post("/api/v1/jobs/", {}).status_code == 403
    assert client.get("/api/v1/audit/").status_code == 403


def test_a_user_without_a_role_may_nothing() -> None:
    client = people.program(people.dora(), scope="admin")
    assert client.get("/api/v1/projects/").status_code == 403


def test_an_unknown_scope_gives_nothing() -> None:
    client = people.program(people.charlie(), scope="admin")
    ApiToken.objects.update(scope="root")
    assert client.get("/api/v1/projects/").status_code == 403


def test_a_token_expires_and_reading_deletes_nothing() -> None:
    client = people.program(people.bob(), days=2)
    with time_machine.travel(timezone.now() + timedelta(days=1)):
        assert client.get("/api/v1/projects/").status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=3)):
        assert client.get("/api/v1/projects/").status_code == 401
    assert ApiToken.objects.count() == 1


def test_a_revoked_token_is_refused_at_once() -> None:
    token, key = tokens.issue(people.bob(), scope="read", days=1)
    client = people.with_key(key)
    assert client.get("/api/v1/projects/").status_code == 200
    tokens.revoke(token, by="test")
    assert client.get("/api/v1/projects/").status_code == 401


def test_a_deactivated_user_and_a_lost_role_count_at_once() -> None:
    bob = people.bob()
    client = people.program(bob)
    Group.objects.get(name="operator").user_set.remove(bob)
    assert client.get("/api/v1/projects/").status_code == 403
    User.objects.update(is_active=False)
    assert client.get("/api/v1/projects/").status_code == 401


def test_the_last_use_is_noted_coarsely() -> None:
    client = people.program(people.bob(), days=9)
    client.get("/api/v1/projects/")
    first = ApiToken.objects.get().last_used_at
    client.get("/api/v1/projects/")
    assert ApiToken.objects.get().last_used_at == first
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        client.get("/api/v1/projects/")
    assert ApiToken.objects.get().last_used_at > first


def test_the_hash_is_no_key() -> None:
    token, _key = tokens.issue(people.bob(), scope="read", days=1)
    for guess in (token.digest, token.token_key, "", "anl_"):
        assert tokens.find(guess) is None


@pytest.mark.parametrize(("scope", "days"), [("root", 1), ("read", 0), ("read", -1), ("read", 10**9)])
def test_a_token_out_of_bounds_is_not_made(scope: str, days: int) -> None:
    with pytest.raises(Invalid):
        tokens.issue(people.bob(), scope=scope, days=days)
    assert not ApiToken.objects.exists()
    assert not AuditEvent.objects.filter(action="token.issue").exists()


def test_the_command_prints_the_key_alone_and_it_works() -> None:
    people.charlie()
    out = io.StringIO()
    call_command("create_api_token", "charlie", "--scope", "operate", "--days", "7", stdout=out)
    key = out.getvalue().strip()
    assert out.getvalue() == key + "\n"
    assert people.with_key(key).get("/api/v1/projects/").status_code == 200
    assert ApiToken.objects.get().scope == "operate"
    assert AuditEvent.objects.get(action="token.issue").actor_name == "command line"


@pytest.mark.parametrize(
    "arguments", [["nobody", "--days", "1"], ["charlie", "--days", "0"], ["charlie", "--days", "99999"]]
)
def test_the_command_refuses_with_one_line(arguments: list[str]) -> None:
    people.charlie()
    with pytest.raises(CommandError) as caught:
        call_command("create_api_token", *arguments, "--scope", "read")
    assert "\n" not in str(caught.value)
