"""The admin pages: for admins, complete for people and tokens, and without any secret."""

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from pipelines.models import Queue
from platform_site.common import roles, tokens
from platform_site.common.models import ApiToken, AuditEvent, IdempotencyRecord, Project, User
from platform_site.common.roles import Role
from tests import people

pytestmark = pytest.mark.django_db


@pytest.fixture
def charlie() -> User:
    return people.charlie()


@pytest.fixture
def client(charlie: User) -> Client:
    return people.browser(charlie)


def test_it_bears_our_name(client: Client) -> None:
    page = client.get("/admin/").content.decode()
    assert "Anneal administration" in page
    assert "Django administration" not in page


@pytest.mark.parametrize("make", [people.alice, people.bob, people.dora])
def test_others_than_admins_are_refused(make: object) -> None:
    user = make()  # type: ignore[operator]
    user.is_staff = True
    user.save()
    client = people.browser(user)
    for address in ("/admin/", "/admin/common/user/", "/admin/login/", reverse("admin:common_apitoken_add")):
        assert client.get(address, follow=True).status_code == 403, address


def test_a_stranger_signs_in_on_the_platforms_own_page() -> None:
    response = Client().get("/admin/common/user/", follow=True)
    assert response.redirect_chain[-1][0].startswith(reverse("login"))
    assert "next=/admin/common/user/" in response.redirect_chain[-1][0]


def test_a_person_is_made_with_a_role(client: Client) -> None:
    roles.ensure_roles()
    response = client.post(
        reverse("admin:common_user_add"),
        {
            "username": "eve",
            "usable_password": "true",
            "password1": "a long good one",
            "password2": "a long good one",
            "groups": [Group.objects.get(name="operator").pk],
        },
    )
    assert response.status_code == 302, response.content
    assert roles.role_of(User.objects.get(username="eve")) == Role.OPERATOR
    assert AuditEvent.objects.filter(action="admin.add", actor_name="charlie").exists()


def test_a_role_cannot_be_renamed_or_deleted(client: Client) -> None:
    group = Group.objects.get(name="viewer")
    client.post(reverse("admin:auth_group_change", args=[group.pk]), {"name": "visitors", "permissions": []})
    client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})
    client.post(
        reverse("admin:auth_group_changelist"),
        {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"},
    )
    assert Group.objects.get(pk=group.pk).name == "viewer"


def make_token(client: Client, charlie: User) -> tuple[str, str]:
    response = client.post(
        reverse("admin:common_apitoken_add"), {"user": charlie.pk, "name": "ci", "scope": "operate", "days": 5}
    )
    assert response.status_code == 200
    page = response.content.decode()
    found = re.search(r'id="api-token-key">(\w+)<', page)
    assert found, page
    assert "no-store" in response.headers["Cache-Control"]
    return found[1], page


def test_a_tokens_key_is_shown_once_and_works(client: Client, charlie: User) -> None:
    key, _page = make_token(client, charlie)
    assert people.with_key(key).get("/api/v1/projects/").status_code == 200
    token = ApiToken.objects.get()
    assert token.scope == "operate"
    for address in (
        reverse("admin:common_apitoken_changelist"),
        reverse("admin:common_apitoken_change", args=[token.pk]),
        reverse("admin:common_apitoken_history", args=[token.pk]),
        reverse("admin:common_apitoken_delete", args=[token.pk]),
        reverse("admin:common_auditevent_changelist"),
        "/admin/",
    ):
        page = client.get(address)
        assert page.status_code == 200, address
        assert key not in page.content.decode(), address
        assert key[:15] not in page.content.decode(), address


def test_a_token_does_not_change_and_is_revoked_by_deleting(client: Client, charlie: User) -> None:
    key, _page = make_token(client, charlie)
    token = ApiToken.objects.get()
    address = reverse("admin:common_apitoken_change", args=[token.pk])
    assert client.post(address, {"user": charlie.pk, "name": "x", "scope": "admin"}).status_code == 403
    client.post(reverse("admin:common_apitoken_delete", args=[token.pk]), {"post": "yes"})
    assert not ApiToken.objects.exists()
    assert people.with_key(key).get("/api/v1/projects/").status_code == 401
    assert AuditEvent.objects.filter(action="admin.delete", object_type="common.apitoken").exists()


def test_a_wrong_form_makes_no_token(client: Client, charlie: User) -> None:
    for data in ({"scope": "root", "days": 5}, {"scope": "read", "days": 0}, {"scope": "read"}):
        client.post(reverse("admin:common_apitoken_add"), {"user": charlie.pk, "name": "", **data})
    assert not ApiToken.objects.exists()


def test_the_audit_log_is_read_only(client: Client, charlie: User) -> None:
    event = AuditEvent.objects.create(actor=charlie, actor_name="charlie", action="x.y")
    change = reverse("admin:common_auditevent_change", args=[event.pk])
    assert client.get(change).status_code == 200
    assert client.post(change, {"action": "z"}).status_code == 403
    assert client.post(reverse("admin:common_auditevent_delete", args=[event.pk]), {"post": "yes"}).status_code == 403
    assert client.get(reverse("admin:common_auditevent_add")).status_code == 403
    event.refresh_from_db()
    assert event.action == "x.y"


def test_a_deleted_user_stays_named_in_the_audit_log(client: Client) -> None:
    bob = people.bob()
    AuditEvent.objects.create(actor=bob, actor_name="bob", action="job.submit")
    client.post(reverse("admin:common_user_delete", args=[bob.pk]), {"post": "yes"})
    event = AuditEvent.objects.get(action="job.submit")
    assert (event.actor, event.actor_name) == (None, "bob")


def test_slots_of_a_queue_are_changed_and_nothing_else_of_it(client: Client) -> None:
    Queue.objects.create(name="training", priority=10)
    page = reverse("admin:pipelines_queue_change", args=["training"])
    client.post(page, {"slots": 4, "priority": 1, "name": "other"})
    assert Queue.objects.values_list("name", "priority", "slots").get() == ("training", 10, 4)
    assert AuditEvent.objects.filter(action="admin.change", details__changed=["Slots"]).exists()
    for wrong in (0, -1, 1001, "x", ""):
        assert client.post(page, {"slots": wrong}).status_code == 200
    assert client.post(reverse("admin:pipelines_queue_delete", args=["training"]), {"post": "yes"}).status_code == 403
    assert client.get(reverse("admin:pipelines_queue_add")).status_code == 403
    assert Queue.objects.get().slots == 4


def test_every_page_of_the_index_opens(client: Client) -> None:
    for model in admin.site._registry:
        options = model._meta
        address = reverse(f"admin:{options.app_label}_{options.model_name}_changelist")
        assert client.get(address).status_code == 200, address


def test_records_of_answers_are_not_shown() -> None:
    assert IdempotencyRecord not in admin.site._registry


def test_no_page_shows_a_password_or_its_hash(client: Client, charlie: User) -> None:
    tokens.issue(charlie, scope="read", days=1)
    for address in (
        reverse("admin:common_user_changelist"),
        reverse("admin:common_user_change", args=[charlie.pk]),
    ):
        page = client.get(address).content.decode()
        assert people.PASSWORD not in page
        assert charlie.password not in page
        assert charlie.password.split("$")[-1] not in page


def test_a_name_with_markup_is_escaped(client: Client) -> None:
    Project.objects.create(slug="x", name="<script>alert(1)</script>")
    page = client.get(reverse("admin:common_project_changelist")).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_pages_need_no_inline_script_or_style(client: Client, charlie: User) -> None:
    """They run under the same content security policy as all others."""
    _key, made = make_token(client, charlie)
    pages = [made] + [
        client.get(address).content.decode()
        for address in ("/admin/", reverse("admin:common_user_changelist"), reverse("admin:common_user_add"))
    ]
    for page in pages:
        scripts = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", page)
        assert all('type="application/json"' in attributes for attributes in scripts), scripts
        assert "style=" not in page
        assert not re.search(r"<style", page)
