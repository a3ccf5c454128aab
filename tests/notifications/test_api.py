"""Notifications over the API: everybody's own, and no address ever comes out."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from notifications.models import Notification, Target
from notifications.services import targets
from notifications.services.events import note_all
from platform_site.common.models import User
from platform_site.common.severity import Severity
from tests import people

from .made import anomaly, failure, spread_all
from .servers import Web

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback")]
BASE = "/api/v1/notifications/"
SECRET = "hunter2secret"


@pytest.fixture
def bob() -> User:
    return people.bob()


@pytest.fixture
def client(bob: User) -> APIClient:
    return people.program(bob)


def of(client: APIClient, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(BASE, query)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_the_list_tells_what_happened_newest_first(client: APIClient) -> None:
    note_all([failure(1), anomaly(2, Severity.CRITICAL), anomaly(3)])
    spread_all()
    first, second = sorted(of(client), key=lambda one: one["kind"])
    assert {key: first[key] for key in ("kind", "severity", "about", "link", "count", "read_at")} == {
        "kind": "anomaly",
        "severity": "critical",
        "about": "Tiny",
        "link": "/jobs/1/",
        "count": 2,
        "read_at": None,
    }
    assert (second["title"], second["text"]) == ("Stage train of Pipeline 1 failed", "No room.")


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ({"kind": "anomaly"}, {"anomaly"}),
        ({"severity": "ERROR"}, {"stage_failed"}),
        ({"unread": "true"}, {"anomaly", "stage_failed"}),
        ({"unread": "false"}, set()),
        ({"search": "pipeline 1"}, {"stage_failed"}),
    ],
)
def test_it_filters(client: APIClient, query: dict[str, str], kinds: set[str]) -> None:
    note_all([failure(1), anomaly(2)])
    spread_all()
    assert {one["kind"] for one in of(client, **query)} == kinds


@pytest.mark.parametrize("query", [{"kind": "eclipse"}, {"severity": "bad"}, {"red": "1"}, {"ordering": "user"}])
def test_a_wrong_filter_is_400(client: APIClient, query: dict[str, str]) -> None:
    assert client.get(BASE, query).status_code == 400


def test_one_and_all_are_marked_as_read(client: APIClient, bob: User) -> None:
    note_all([failure(number) for number in range(3)])
    spread_all()
    first = Notification.objects.filter(user=bob).first()
    assert first is not None
    for _ in range(2):
        answer = client.post(f"{BASE}{first.pk}/read/")
        assert answer.status_code == 200
        assert answer.json()["read_at"]
    assert client.post(f"{BASE}read-all/").json() == {"read": 2}
    assert client.post(f"{BASE}read-all/").json() == {"read": 0}


def test_others_can_neither_see_nor_touch_what_is_mine(client: APIClient, bob: User) -> None:
    target = targets.add(bob, "team", "json://example.org/hook")
    note_all([failure(1)])
    spread_all()
    mine = Notification.objects.get(user=bob)
    charlie = people.program(people.charlie())
    assert of(charlie) == []
    assert charlie.get(f"{BASE}targets/").json()["results"] == []
    for method, path in (
        ("post", f"{mine.pk}/read/"),
        ("get", f"targets/{target.pk}/"),
        ("patch", f"targets/{target.pk}/"),
        ("delete", f"targets/{target.pk}/"),
        ("post", f"targets/{target.pk}/test/"),
    ):
        assert getattr(charlie, method)(f"{BASE}{path}", {}, format="json").status_code == 404, path
    mine.refresh_from_db()
    assert mine.read_at is None


def test_the_list_costs_the_same_for_many_as_for_few(client: APIClient) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as asked:
            of(client, limit=100)
        return len(asked)

    note_all([failure(1)])
    spread_all()
    cost()
    few = cost()
    note_all([failure(number) for number in range(2, 60)])
    spread_all()
    assert cost() == few


def test_preferences_are_read_and_changed_in_part(client: APIClient) -> None:
    address = f"{BASE}preferences/"
    before = client.get(address).json()
    assert before["mine_only"] is False
    assert before["channels"]["page"] == {
        "kinds": [
            "pipeline_done",
            "stage_failed",
            "anomaly",
            "stall",
            "disk_filling",
            "host_unreachable",
            "integrity",
        ],
        "severity": "warning",
    }
    body = {"channels": {"email": {"kinds": ["stage_failed"], "severity": "critical"}}, "language": "zh-hans"}
    after = client.patch(address, body, format="json").json()
    assert after["channels"]["email"] == {"kinds": ["stage_failed"], "severity": "critical"}
    assert after["channels"]["page"] == before["channels"]["page"]
    assert after["language"] == "zh-hans"
    assert client.patch(address, {"mine_only": True}, format="json").json()["mine_only"] is True
    assert client.get(address).json() == {**after, "mine_only": True}


@pytest.mark.parametrize(
    "body",
    [
        {"channels": {"pigeon": {}}},
        {"channels": {"page": {"kinds": ["eclipse"]}}},
        {"channels": {"page": {"kinds": "anomaly"}}},
        {"channels": {"page": {"severity": "info"}}},
        {"channels": []},
        {"language": "tlh"},
        {"mine_only": "perhaps"},
        {"colour": "red"},
    ],
)
def test_wrong_preferences_are_400_and_change_nothing(client: APIClient, body: dict[str, Any]) -> None:
    before = client.get(f"{BASE}preferences/").json()
    assert client.patch(f"{BASE}preferences/", body, format="json").status_code == 400
    assert client.get(f"{BASE}preferences/").json() == before


def test_an_address_goes_in_and_never_comes_out(client: APIClient) -> None:
    with Web() as web:
        url = f"{web.url()}/{SECRET}"
        made = client.post(f"{BASE}targets/", {"name": "team", "url": url}, format="json")
        assert made.status_code == 201, made.content
        one = f"{BASE}targets/{made.json()['id']}/"
        changed = client.patch(one, {"name": "all"}, format="json")
        assert changed.json()["name"] == "all"
        tested = client.post(f"{one}test/")
        assert tested.status_code == 200, tested.content
        web.status = 404
        Target.objects.update(tested_at=None)
        failed = client.post(f"{one}test/")
        listed = client.get(f"{BASE}targets/")
    assert failed.status_code == 422
    assert failed.json()["error"]["code"] == "not_sent"
    assert "404" in listed.json()["results"][0]["problem"]
    for answer in (made, changed, tested, failed, listed, client.get(one)):
        assert SECRET not in answer.content.decode()
        assert "secret" not in answer.content.decode()
    assert client.delete(one).status_code == 204
    assert client.get(one).status_code == 404


def test_an_address_that_is_none_is_422_by_its_field(client: APIClient) -> None:
    answer = client.post(f"{BASE}targets/", {"name": "x", "url": "exec://ls"}, format="json")
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (422, ["url"])


def test_the_same_request_sent_twice_makes_one_address(client: APIClient) -> None:
    for _ in range(2):
        answer = client.post(
            f"{BASE}targets/",
            {"name": "team", "url": f"json://example.org/{SECRET}"},
            format="json",
            headers={"Idempotency-Key": "once"},
        )
        assert answer.status_code == 201
    assert Target.objects.count() == 1


def test_a_token_that_only_reads_adds_no_address(bob: User) -> None:
    reader = people.program(bob, scope="read")
    assert reader.post(f"{BASE}targets/", {"name": "x", "url": "json://x.org"}, format="json").status_code == 403


@pytest.mark.parametrize(("scope", "let_in"), [("read", False), ("operate", True)])
def test_a_viewer_manages_their_own_addresses_with_a_token_that_may_write(scope: str, let_in: bool) -> None:
    viewer = people.alice()
    client = people.program(viewer, scope=scope)
    with Web() as web:
        target = targets.add(viewer, "team", web.url())
        one = f"{BASE}targets/{target.pk}/"
        assert client.get(one).status_code == 200
        answers = [
            client.post(f"{BASE}targets/", {"name": "x", "url": web.url()}, format="json"),
            client.patch(one, {"name": "all"}, format="json"),
            client.post(f"{one}test/"),
            client.delete(one),
        ]
    assert [answer.status_code for answer in answers] == ([201, 200, 200, 204] if let_in else [403] * 4)
    assert list(Target.objects.values_list("name", flat=True)) == (["x"] if let_in else ["team"])
