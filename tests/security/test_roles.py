"""Roles are groups; closed by default; made by one command or by the admin pages."""

import io
import sys

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.core.management import CommandError, call_command

from platform_site.common import roles
from platform_site.common.models import AuditEvent, User
from platform_site.common.roles import Role
from tests import people

pytestmark = pytest.mark.django_db

GOOD = "a long good one\n"


def test_ensuring_the_roles_twice_changes_nothing() -> None:
    roles.ensure_roles()
    before = {group.name: set(group.permissions.values_list("pk", flat=True)) for group in Group.objects.all()}
    roles.ensure_roles()
    after = {group.name: set(group.permissions.values_list("pk", flat=True)) for group in Group.objects.all()}
    assert before == after
    assert set(after) == {"viewer", "operator", "admin"}
    assert after["viewer"] < after["operator"] < after["admin"]


def test_only_admins_have_rights_over_people_and_tokens() -> None:
    roles.ensure_roles()
    for name in ("viewer", "operator"):
        codes = set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))
        assert not {code for code in codes if code.endswith(("apitoken", "idempotencyrecord"))}
        assert not codes & {"add_user", "change_user", "delete_user", "change_group", "add_project"}


def test_a_role_that_is_not_there_yet_is_made_when_it_is_given() -> None:
    Group.objects.all().delete()
    assert roles.role_of(people.bob()) == Role.OPERATOR
    assert Group.objects.get(name="operator").permissions.exists()


def test_the_highest_group_counts() -> None:
    alice = people.alice()
    assert roles.role_of(alice) == Role.VIEWER
    alice.groups.add(Group.objects.get(name="admin"))
    assert roles.role_of(alice) == Role.ADMIN


def test_nobody_has_a_role_by_accident() -> None:
    dora = people.dora()
    dora.groups.add(Group.objects.create(name="administrators"))
    assert roles.role_of(dora) is None
    assert roles.role_of(AnonymousUser()) is None
    assert roles.role_of(None) is None
    charlie = people.charlie()
    charlie.is_active = False
    assert roles.role_of(charlie) is None


def test_a_superuser_is_an_admin() -> None:
    assert roles.role_of(User.objects.create_superuser("root", password=people.PASSWORD)) == Role.ADMIN


@pytest.mark.parametrize("scope", [None, "read", "operate", "admin", "other"])
@pytest.mark.parametrize("role", [None, *Role])
def test_the_effective_role_is_the_lesser_of_role_and_scope(role: Role | None, scope: str | None) -> None:
    user = people.person("x", role)
    limit = {None: 3, "read": 1, "operate": 2, "admin": 3, "other": 0}[scope]
    expected = min(role or 0, limit)
    assert (roles.effective_role(user, scope) or 0) == expected


def test_granting_replaces_the_role_and_keeps_other_groups() -> None:
    bob = people.bob()
    bob.groups.add(Group.objects.create(name="night shift"))
    roles.grant(bob, Role.VIEWER)
    assert set(bob.groups.values_list("name", flat=True)) == {"viewer", "night shift"}


def create(monkeypatch: pytest.MonkeyPatch, *arguments: str, password: str = GOOD) -> str:
    monkeypatch.setattr(sys, "stdin", io.StringIO(password))
    out = io.StringIO()
    call_command("create_user", *arguments, "--password-stdin", stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_the_command_makes_a_user_with_a_role(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    said = create(monkeypatch, "eve", "--role", role)
    eve = User.objects.get(username="eve")
    assert roles.role_of(eve) == roles.ROLE_BY_SLUG[role]
    assert eve.check_password("a long good one")
    assert not eve.is_superuser
    assert "a long good one" not in said
    assert AuditEvent.objects.get(action="user.create").details == {"role": role}


@pytest.mark.parametrize("password", ["", "\n", "short\n", "1234567890\n", "password123\n", "eve-eve-eve\n"])
def test_the_command_refuses_a_weak_password(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    with pytest.raises(CommandError):
        create(monkeypatch, "eve-eve-eve", "--role", "admin", password=password)
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["bob", "a b", "", "x" * 200])
def test_the_command_refuses_a_bad_or_taken_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    people.bob()
    with pytest.raises(CommandError):
        create(monkeypatch, name, "--role", "admin")
    assert User.objects.count() == 1


def test_the_command_needs_the_password_on_standard_input() -> None:
    with pytest.raises(CommandError):
        call_command("create_user", "eve", "--role", "admin")
