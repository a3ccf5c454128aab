"""Who did what: recorded with the deed, without secrets, for admins to read."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import transaction

from platform_site.common import audit
from platform_site.common.models import AuditEvent, Project
from tests import people

pytestmark = pytest.mark.django_db


def test_an_event_says_who_what_and_on_what() -> None:
    project = Project.objects.create(slug="p", name="P")
    event = audit.record("project.rename", people.bob(), project, before="a", after="b")
    event.refresh_from_db()
    assert (event.actor_name, event.action) == ("bob", "project.rename")
    assert (event.object_type, event.object_id) == ("common.project", str(project.pk))
    assert event.details == {"before": "a", "after": "b"}
    assert audit.record("tick", "scheduler").actor_name == "scheduler"
    assert audit.record("x", AnonymousUser()).actor_name == ""


def test_an_undone_deed_leaves_no_event() -> None:
    def fail() -> None:
        with transaction.atomic():
            audit.record("x", "somebody")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "passphrase", "secret", "client_secret", "api_key", "apikey", "token", "hf_token",
     "private_key", "key", "ssh_key", "credential", "Authorization", "cookie"],
)  # fmt: skip
def test_what_sounds_like_a_secret_is_left_out_at_any_depth(name: str) -> None:
    event = audit.record("x", "y", None, **{name: "hunter2", "host": {"env": [{name: "hunter2"}]}})
    event.refresh_from_db()
    assert "hunter2" not in repr(event.details)
    assert event.details[name] == audit.REMOVED


@pytest.mark.parametrize("name", ["tokens_per_second", "keyboard", "max_tokens", "host", "monkey"])
def test_other_names_stay(name: str) -> None:
    assert audit.without_secrets({name: 1}) == {name: 1}


def test_any_value_can_be_recorded() -> None:
    event = audit.record(
        "x", "y", None, number=float("nan"), many=(1, float("inf")), long="x" * 9999, odd=object, nested={1: {2}}
    )
    event.refresh_from_db()
    assert event.details["number"] == "NaN"
    assert event.details["many"] == [1, "Infinity"]
    assert len(event.details["long"]) == audit.LONGEST_TEXT + 1
    assert event.details["nested"] == {"1": [2]}


def test_admins_read_and_filter_the_log() -> None:
    client = people.program(people.charlie())
    audit.record("job.submit", people.bob(), recipe="tiny-sft")
    audit.record("job.cancel", "scheduler")
    body = client.get("/api/v1/audit/", {"action": "job.submit"}).json()
    assert body["count"] == 1
    assert set(body["results"][0]) == {
        "id", "at", "actor", "action", "object_type", "object_id", "address", "details",
    }  # fmt: skip
    assert body["results"][0]["actor"] == "bob"
    assert client.get("/api/v1/audit/", {"actor": "scheduler"}).json()["count"] == 1
    assert client.get("/api/v1/audit/", {"search": "cancel"}).json()["count"] == 1
    assert client.get("/api/v1/audit/", {"ordering": "actor__password"}).status_code == 400
    newest = client.get("/api/v1/audit/").json()["results"][0]
    assert newest["action"] == "job.cancel"
    assert client.get("/api/v1/audit/", {"since": newest["at"]}).json()["count"] == 1
    assert client.post("/api/v1/audit/", {}).status_code == 405
