"""A POST with an Idempotency-Key has one effect and one answer, whatever happens on the way."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.test import APIClient

from platform_site.common.api import idempotency
from platform_site.common.models import IdempotencyRecord, Project
from tests import people
from tests.common import probes as views

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("probes")]

ADDRESS = "/api/v1/things/"


@pytest.fixture
def client() -> APIClient:
    return people.program(people.bob())


def post(client: APIClient, body: dict[str, Any], key: str = "k1", address: str = ADDRESS) -> Any:
    return client.post(address, body, headers={"Idempotency-Key": key})


def test_the_same_request_again_replays_the_answer(client: APIClient) -> None:
    first = post(client, {"name": "a"})
    again = post(client, {"name": "a"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content == b'{"slug":"p0","loss":"NaN"}'
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Project.objects.count() == 1


def test_without_a_key_every_request_counts(client: APIClient) -> None:
    client.post(ADDRESS, {"name": "a"})
    client.post(ADDRESS, {"name": "a"})
    assert Project.objects.count() == 2
    assert not IdempotencyRecord.objects.exists()


def test_another_body_under_the_same_key_is_422(client: APIClient) -> None:
    post(client, {"name": "a"})
    response = post(client, {"name": "b"})
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "idempotency_key_reused"
    assert Project.objects.count() == 1


def test_the_order_of_names_in_the_body_does_not_matter(client: APIClient) -> None:
    post(client, {"name": "a", "x": 1})
    assert post(client, {"x": 1, "name": "a"}).status_code == 201
    assert Project.objects.count() == 1


def test_the_slash_at_the_end_does_not_matter(client: APIClient) -> None:
    post(client, {"name": "a"})
    post(client, {"name": "a"}, address=ADDRESS.rstrip("/"))
    assert Project.objects.count() == 1


def test_keys_belong_to_a_user_and_an_address(client: APIClient) -> None:
    post(client, {"name": "a"})
    post(people.program(people.charlie()), {"name": "a"})
    post(client, {"name": "a"}, address="/api/v1/things/one/copy/")
    post(client, {"name": "a"}, address="/api/v1/things/two/copy/")
    assert Project.objects.count() == 4


@pytest.mark.parametrize(("name", "status"), [("crash", 500), ("refuse", 409), ("answer", 409)])
def test_a_failure_leaves_neither_key_nor_effect(client: APIClient, name: str, status: int) -> None:
    assert post(client, {"name": name}).status_code == status
    assert not Project.objects.exists()
    assert not IdempotencyRecord.objects.exists()
    assert post(client, {"name": "a"}).status_code == 201


def test_a_key_is_forgotten_after_a_day(client: APIClient) -> None:
    post(client, {"name": "a"})
    with time_machine.travel(timezone.now() + timedelta(hours=23)):
        client = people.program(client_user(), days=9)
        assert post(client, {"name": "b"}).status_code == 422
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        assert post(client, {"name": "b"}).status_code == 201
    assert Project.objects.count() == 2


def client_user() -> Any:
    return IdempotencyRecord.objects.get().user


def test_old_records_are_cleared_away(client: APIClient) -> None:
    post(client, {"name": "a"}, key="old")
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=25))
    post(client, {"name": "b"}, key="new")
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == ["new"]
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert idempotency.forget_old() == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "ключ"])
def test_a_key_out_of_bounds_is_400(client: APIClient, key: str) -> None:
    response = post(client, {"name": "a"}, key=key)
    assert response.status_code == 400
    assert not Project.objects.exists()


def test_whoever_may_not_post_leaves_no_key() -> None:
    assert post(people.program(people.alice()), {"name": "a"}).status_code == 403
    assert not IdempotencyRecord.objects.exists()


def test_a_repeatable_action_is_replayed_too_and_holds_no_transaction(client: APIClient) -> None:
    views.Look.looked = 0
    first = post(client, {}, address="/api/v1/look/")
    assert post(client, {}, address="/api/v1/look/").json() == first.json() == {"looked": 1}
    assert post(client, {"x": 1}, address="/api/v1/look/").status_code == 422


def test_an_uploaded_file_counts_by_its_content() -> None:
    def sha256(content: bytes) -> str:
        file = SimpleUploadedFile("a.jsonl", content)
        request = Request(RequestFactory().post("/", {"name": "x", "file": file}), parsers=[MultiPartParser()])
        found = idempotency.body_sha256(request)
        assert request.data["file"].read() == content, "the view must still find the whole file"
        return found

    assert sha256(b"one") == sha256(b"one")
    assert sha256(b"one") != sha256(b"two")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", [ADDRESS])
def test_requests_at_the_same_time_have_one_effect(address: str) -> None:
    client = people.program(people.bob())
    credentials = client._credentials
    together = threading.Barrier(6)
    answers: list[bytes] = []

    def one() -> None:
        mine = APIClient(raise_request_exception=False)
        mine.credentials(**credentials)
        together.wait()
        answers.append(post(mine, {"name": "a"}).content)
        connections.close_all()

    run_all([threading.Thread(target=one) for _ in range(6)])
    assert Project.objects.count() == 1
    assert answers == [b'{"slug":"p0","loss":"NaN"}'] * 6


def run_all(threads: list[threading.Thread]) -> None:
    each: Callable[[threading.Thread], None]
    for each in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            each(thread)
