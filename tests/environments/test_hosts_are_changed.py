"""What a change of a host does to what was found there, and what becomes of two who change it at once."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from environments import training
from environments.drift import drift
from environments.models import Host
from environments.services import hosts as services
from environments.services.drift import due, needed
from environments.transports.secrets import Secret
from pipelines.services import setup_host
from platform_site.common.errors import Conflict, Unavailable
from platform_site.common.models import AuditEvent
from tests import people
from tests.pipelines import builders
from tests.pipelines.conftest import asked
from tests.ssh.hosts import MakeHost, account, make_host, server

__all__ = ["account", "asked", "make_host", "server"]

pytestmark = pytest.mark.django_db(transaction=True)

READY = {"torch": "2.13.0", "verl": "0.9.1"}
PLACE = {"address": "gpu-1.example.org", "user": "trainer", "root": "/home/trainer/anneal"}


@pytest.fixture
def far() -> Host:
    """Enrolled, checked, compared and found fit to train."""
    fields: dict[str, Any] = {
        **PLACE,
        "kind": Host.Kind.SSH,
        "host_key": "ssh-ed25519 AAAA",
        "secret": Secret(password="word").sealed(),
        "facts": {"training": READY, "home": "/home/trainer"},
        "facts_at": timezone.now(),
        "environment": {
            "ok": True,
            "wanted": needed(),
            "kind": "cpu",
            "python": "3.11",
            "torch_build": "cpu",
            "checks": [],
        },
        "environment_at": timezone.now(),
    }
    found: Host = builders.host("gpu-1", **fields)
    assert training.state(found).ready
    return found


@pytest.fixture
def charlie(far: Host) -> APIClient:
    client = APIClient()
    client.force_login(people.charlie())
    return client


@pytest.mark.parametrize(
    ("change", "checks_again"),
    [
        ({"python": "/opt/venv/bin/python"}, True),
        ({"root": "/srv/anneal"}, True),
        ({"user": "other", "password": "word"}, True),
        # What has to be enrolled or let in first is checked by a person, as when it was added.
        ({"user": "other"}, False),
        ({"address": "gpu-2.example.org", "password": "word"}, False),
        ({"port": 2222}, False),
    ],
)
def test_another_place_is_not_checked_yet_and_is_checked_again(
    far: Host, asked: Callable[[], list[int]], change: dict[str, Any], checks_again: bool
) -> None:
    services.update(people.charlie(), far, change)
    far.refresh_from_db()
    assert (far.facts, far.facts_at) == ({}, None)
    assert training.state(far).status == "missing"
    assert "not checked yet" in training.state(far).message
    assert drift(far).status == "unknown"
    assert services.is_being_checked(far) is checks_again
    assert asked() == ([far.pk] if checks_again else [])


@pytest.mark.parametrize("change", [{"slots": 4}, {"enabled": False}, {"labels": ["h100"]}, {"password": "another"}])
def test_the_same_place_stays_checked(far: Host, asked: Callable[[], list[int]], change: dict[str, Any]) -> None:
    services.update(people.charlie(), far, {**PLACE, **change})
    far.refresh_from_db()
    assert training.state(far).ready
    assert drift(far).status == "current"
    assert asked() == []


def test_this_machine_with_another_python_is_compared_again(asked: Callable[[], list[int]]) -> None:
    fields = {"facts": {"cpus": 2}, "facts_at": timezone.now(), "environment_at": timezone.now()}
    local = builders.host(environment={"ok": True}, **fields)
    services.update(people.charlie(), local, {"python": "/usr/bin/python3"})
    local.refresh_from_db()
    assert (local.environment, local.environment_at, local.facts) == ({}, None, {"cpus": 2})
    assert asked() == [local.pk]


@pytest.mark.ssh
def test_a_check_that_was_under_way_says_nothing_of_what_came_after_it(make_host: MakeHost) -> None:
    host = make_host()
    seen = Host.objects.get(pk=host.pk)
    services.update(people.charlie(), host, {"python": "/opt/venv/bin/python"})
    with pytest.raises(Conflict, match="changed while it was checked"):
        services.check(seen)
    host.refresh_from_db()
    assert host.facts_at is None


@pytest.mark.ssh
def test_the_check_that_follows_a_change_fills_the_page_again(make_host: MakeHost) -> None:
    host = make_host(facts_at=timezone.now(), facts={"training": READY})
    services.update(people.charlie(), host, {"root": f"{host.root}-2"})
    setup_host.look(host.pk)
    host.refresh_from_db()
    assert host.facts["cpus"] >= 1
    assert (host.checking_since, host.facts_at is not None) == (None, True)
    assert training.state(host).status == "failed", "that Python has no torch"


def test_a_check_whose_message_was_lost_is_sent_again(far: Host) -> None:
    assert far not in due()
    Host.objects.update(checking_since=timezone.now())
    assert far not in due()
    Host.objects.update(enabled=False, checking_since=timezone.now() - services.CHECK_TERM)
    assert due() == [far]


def test_a_check_that_fails_is_over(far: Host) -> None:
    Host.objects.update(address="127.0.0.1", port=9, checking_since=timezone.now())
    with pytest.raises(Unavailable):
        services.check(Host.objects.get())
    setup_host.look(far.pk)
    far.refresh_from_db()
    assert far.checking_since is None
    assert far.unreachable_since is not None


def test_the_second_of_two_who_change_it_at_once_is_told_what_changed(far: Host, client: Client) -> None:
    client.force_login(people.charlie())
    page = client.get("/hosts/gpu-1/edit/").content.decode()
    assert f'name="revision" value="{far.revision}"' in page
    form = {**PLACE, "port": 22, "slots": 1, "enabled": "on", "revision": far.revision}
    assert client.post("/hosts/gpu-1/edit/", {**form, "slots": 7}).status_code == 302

    second = client.post("/hosts/gpu-1/edit/", {**form, "root": "/srv/anneal"})
    assert second.status_code == 409
    told = second.content.decode()
    assert "somebody changed it. Nothing was saved" in told
    assert "It is 7 now: charlie changed it." in told
    far.refresh_from_db()
    assert (far.slots, far.root) == (7, PLACE["root"])
    assert client.post("/hosts/gpu-1/edit/", {**form, "revision": ""}).status_code == 422


def test_over_the_api_who_names_the_revision_is_told_too(far: Host, charlie: APIClient) -> None:
    url = "/api/v1/hosts/gpu-1/"
    seen = charlie.get(url).json()["revision"]
    first = charlie.patch(url, {"slots": 7, "labels": ["h100"], "password": "another", "revision": seen}, format="json")
    assert (first.status_code, first.json()["revision"]) == (200, seen + 1)
    second = charlie.patch(url, {"slots": 9, "revision": seen}, format="json")
    assert second.status_code == 409
    error = second.json()["error"]
    assert error["code"] == "stale_revision"
    assert set(error["fields"]) == {"slots", "labels", "credentials"}
    assert "another" not in second.content.decode()
    assert charlie.patch(url, {"slots": 9}, format="json").status_code == 200
    assert AuditEvent.objects.filter(action="host.update").first() is not None


def test_in_the_admin_too(far: Host, client: Client) -> None:
    charlie = people.charlie()
    client.force_login(charlie)
    url = f"/admin/environments/host/{far.pk}/change/"
    assert 'name="seen_revision" value="0"' in client.get(url).content.decode()
    body = {**PLACE, "project": far.project_id, "name": "gpu-1", "port": 22, "slots": 1, "enabled": "on"}
    body |= {"labels": "[]", "gpus": "[]", "seen_revision": 0}
    services.update(charlie, far, {"slots": 7})
    stale = client.post(url, body)
    assert stale.status_code == 200
    assert "somebody changed it" in stale.content.decode()
    assert Host.objects.get().slots == 7
    assert client.post(url, {**body, "slots": 3, "seen_revision": 1}).status_code == 302
    assert Host.objects.get().slots == 3


def test_a_cluster_has_one_status_and_its_check_keeps_nobody_waiting(
    client: Client, asked: Callable[[], list[int]]
) -> None:
    fields = {"address": "http://127.0.0.1:9", "root": "/mnt/shared", "python": "/opt/venv/bin/python"}
    lab = builders.host("lab", kind=Host.Kind.RAY, **fields)
    client.force_login(people.charlie())

    def stands() -> list[str]:
        page = client.get("/hosts/lab/").content.decode()
        words = ("not checked yet", "being checked", "check failed", "reachable", "Unreachable")
        return [word for word in words if f">{word}<" in page]

    assert stands() == ["not checked yet"]
    assert client.post("/hosts/lab/check/").headers["Location"] == "/hosts/lab/"
    assert stands() == ["being checked"]
    client.post("/hosts/lab/check/")
    assert asked() == [lab.pk]
    setup_host.look(lab.pk)
    assert stands() == ["Unreachable"]
    Host.objects.update(unreachable_since=None, failures=0, last_error="no such folder", last_error_at=timezone.now())
    assert stands() == ["check failed"]
    Host.objects.update(facts_at=timezone.now(), facts={"ray": "2.50", "python": "3.11", "gpus": []}, last_error="")
    assert stands() == ["reachable"]
