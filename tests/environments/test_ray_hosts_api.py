"""Ray clusters are added, changed and removed like other hosts; an address that must not be used is refused at once."""

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from environments import training
from environments.models import Host
from environments.transports.ray_jobs import jobs_of
from pipelines.services import setup_host
from pipelines.services.dispatch import dispatch
from pipelines.states import StageStatus
from platform_site.common.models import AuditEvent, User
from tests import people
from tests.pipelines import builders

pytestmark = pytest.mark.django_db

PLANTED = "planted-token-4711"
NEW: dict[str, Any] = {
    "name": "lab", "kind": "ray", "address": "https://ray-head:8265/", "token": PLANTED, "root": "/mnt/shared",
    "python": "/opt/venv/bin/python", "slots": 4, "labels": ["h100"],
}  # fmt: skip


@pytest.fixture
def charlie() -> APIClient:
    builders.project()
    client = APIClient()
    client.force_authenticate(people.charlie())
    return client


def post(client: APIClient, body: dict[str, Any]) -> Any:
    return client.post("/api/v1/hosts/", body, format="json")


def test_a_cluster_is_added_and_nothing_starts_there_before_it_was_checked(charlie: APIClient) -> None:
    answer = post(charlie, NEW)
    assert answer.status_code == 201, answer.json()
    told = answer.json()
    assert (told["kind"], told["address"], told["slots"]) == ("ray", "https://ray-head:8265", 4)
    assert told["has_credentials"]
    assert told["training"]["status"] == "missing"
    host = Host.objects.get()
    assert jobs_of(host).token == PLANTED
    builders.queues()
    waiting = builders.stage(StageStatus.QUEUED, host=host)
    assert dispatch() == 0
    waiting.refresh_from_db()
    assert "not checked yet" in waiting.waiting_for


def test_the_token_comes_out_nowhere(charlie: APIClient, client: Client) -> None:
    told = [post(charlie, NEW).content.decode()]
    client.force_login(User.objects.get())
    told += [charlie.get(f"/api/v1/{route}").content.decode() for route in ("hosts/", "hosts/lab/", "audit/")]
    told += [client.get(f"/hosts/{route}").content.decode() for route in ("", "lab/", "lab/edit/")]
    told += [client.get(f"/admin/environments/host/{Host.objects.get().pk}/change/").content.decode()]
    told += [json.dumps(list(AuditEvent.objects.values("details"))), Host.objects.get().secret]
    assert not [text for text in told if PLANTED in text]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"address": "http://ray-head:8265"}, "address"),
        ({"token": ""}, "address"),
        ({"address": "https://user:word@ray-head"}, "address"),
        ({"address": "ray-head"}, "address"),
        ({"root": ""}, "root"),
        ({"root": "mnt/shared"}, "root"),
        ({"root": "/mnt/../etc"}, "root"),
        ({"root": "/"}, "root"),
        ({"python": "python3"}, "python"),
        ({"user": "root"}, "user"),
        ({"password": "x"}, "password"),
        ({"slots": 0}, "slots"),
        ({"labels": ["Not A Label"]}, "labels"),
    ],
)
def test_what_cannot_be_is_refused_at_its_field(charlie: APIClient, changed: dict[str, Any], field: str) -> None:
    answer = post(charlie, {name: value for name, value in {**NEW, **changed}.items() if value != ""})
    assert answer.status_code in (400, 422)
    assert field in answer.json()["error"]["fields"]
    assert not Host.objects.exists()


def test_on_this_machine_it_needs_no_token(charlie: APIClient) -> None:
    body = {**NEW, "address": "http://127.0.0.1:8265"}
    del body["token"]
    assert post(charlie, body).status_code == 201


def checked(host: Host) -> None:
    Host.objects.filter(pk=host.pk).update(facts_at="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("changes", "token", "ready"),
    [
        ({"slots": 2}, PLANTED, True),
        ({"token": "another"}, "another", True),
        ({"root": "/mnt/other"}, PLANTED, False),
        ({"python": "/opt/other/bin/python"}, PLANTED, False),
        ({"address": "https://other:8265", "token": "another"}, "another", False),
        ({"address": "http://127.0.0.1:8265"}, "", False),
    ],
)
def test_a_change_keeps_what_it_may(charlie: APIClient, changes: dict[str, Any], token: str, ready: bool) -> None:
    post(charlie, NEW)
    checked(Host.objects.get())
    answer = charlie.patch("/api/v1/hosts/lab/", changes, format="json")
    assert answer.status_code == 200, answer.json()
    host = Host.objects.get()
    assert jobs_of(host).token == token
    assert training.state(host).ready is ready


def test_a_token_is_not_sent_to_another_address(charlie: APIClient) -> None:
    post(charlie, NEW)
    answer = charlie.patch("/api/v1/hosts/lab/", {"address": "https://elsewhere:8265"}, format="json")
    assert answer.status_code == 422
    assert "address" in answer.json()["error"]["fields"]
    assert Host.objects.get().address == "https://ray-head:8265"


def test_one_that_does_not_answer_says_so_when_it_is_checked(charlie: APIClient) -> None:
    body = {**NEW, "address": "http://127.0.0.1:9"}
    post(charlie, body)
    answer = charlie.post("/api/v1/hosts/lab/check/", {}, format="json")
    assert answer.status_code == 202
    assert answer.json()["checking_since"]
    host = Host.objects.get()
    assert setup_host.look(host.pk) is None
    host.refresh_from_db()
    assert host.checking_since is None
    assert host.unreachable_since is not None
    assert host.facts_at is None


def test_it_is_removed_like_any_other(charlie: APIClient) -> None:
    post(charlie, NEW)
    assert charlie.delete("/api/v1/hosts/lab/").status_code == 204
    assert not Host.objects.exists()


def test_the_same_on_pages(client: Client) -> None:
    builders.project()
    client.force_login(people.charlie())
    assert "A Ray cluster" in client.get("/hosts/new/").content.decode()
    form = {**NEW, "enabled": "on"}
    refused = client.post("/hosts/new/?kind=ray", {**form, "address": "http://ray-head:8265"})
    assert refused.status_code == 422
    assert "needs https:// and a token" in refused.content.decode()
    assert client.post("/hosts/new/?kind=ray", form).headers["Location"] == "/hosts/lab/"
    page = client.get("/hosts/lab/").content.decode()
    assert "https://ray-head:8265" in page
    assert "Check now" in page
    assert "Show the key" not in page
    assert client.post("/hosts/lab/edit/", {**form, "token": "", "slots": 9, "revision": 0}).status_code == 302
    host = Host.objects.get()
    assert (host.slots, jobs_of(host).token) == (9, PLANTED)
    assert client.post("/hosts/lab/delete/").status_code == 302
    assert not Host.objects.exists()


def test_adding_is_for_administrators(client: Client) -> None:
    builders.project()
    client.force_login(people.bob())
    assert client.post("/hosts/new/?kind=ray", NEW).status_code == 403


def test_credentials_of_a_cluster_are_rotated_too(charlie: APIClient, settings: Any) -> None:
    post(charlie, NEW)
    call_command("rotate_secrets")
    assert jobs_of(Host.objects.get()).token == PLANTED
