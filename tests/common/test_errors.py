"""Every error of the API has one shape and tells nothing of the inside."""

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from tests import people
from tests.common import probes as views

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("probes")]


@pytest.fixture
def client() -> APIClient:
    return people.program(people.bob())


def assert_shape(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/json"
    body = json.loads(response.content)
    assert set(body) == {"error"}
    assert isinstance(body["error"]["code"], str)
    assert body["error"]["message"]
    assert views.SECRET not in response.content.decode()
    return body["error"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("bad_request", 400, "bad_request"),
        ("suspicious", 400, "bad_request"),
        ("forbidden", 403, "forbidden"),
        ("denied", 403, "forbidden"),
        ("not_found", 404, "not_found"),
        ("http404", 404, "not_found"),
        ("conflict", 409, "stale_revision"),
        ("too_large", 413, "too_large"),
        ("too_big", 413, "too_large"),
        ("unsupported", 415, "unsupported_media_type"),
        ("invalid", 422, "invalid"),
        ("django_invalid", 422, "invalid"),
        ("throttled", 429, "throttled"),
        ("crash", 500, "internal"),
        ("unavailable", 503, "unavailable"),
        ("database", 503, "unavailable"),
    ],
)
def test_every_status_has_the_shape(client: APIClient, name: str, status: int, code: str) -> None:
    error = assert_shape(client.get(f"/api/v1/raise/{name}/"), status)
    assert error["code"] == code


def test_fields_and_details_of_a_platform_error_are_told(client: APIClient) -> None:
    assert client.get("/api/v1/raise/invalid/").json()["error"]["fields"] == {"stages.1.name": ["taken", "ugly"]}
    assert client.get("/api/v1/raise/bad_request/").json()["error"]["fields"] == {"a.b": ["wrong"]}
    assert client.get("/api/v1/raise/conflict/").json()["error"]["revision"] == 7


def test_a_throttled_client_is_told_when_to_come_back(client: APIClient) -> None:
    assert client.get("/api/v1/throttled/").status_code == 200
    assert client.get("/api/v1/throttled/").status_code == 200
    response = client.get("/api/v1/throttled/")
    assert_shape(response, 429)
    assert 0 < int(response.headers["Retry-After"]) <= 61


def test_a_stranger_gets_401_and_is_told_how_to_sign_in() -> None:
    response = APIClient().get("/api/v1/projects/")
    assert_shape(response, 401)
    assert response.headers["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("header", ["Token wrong", "Token", "Token a b", "Token \xff\xfe", "Token " + "x" * 5000])
def test_a_wrong_token_is_401(header: str) -> None:
    response = APIClient(raise_request_exception=False).get("/api/v1/projects/", HTTP_AUTHORIZATION=header)
    assert_shape(response, 401)


def test_an_unknown_address_is_404_for_people_and_401_for_strangers(client: APIClient) -> None:
    for method in ("get", "post", "put", "patch", "delete", "options"):
        assert_shape(getattr(client, method)("/api/v1/no/such/thing"), 404)
    assert_shape(APIClient().get("/api/v1/no/such/thing/"), 401)


def test_an_address_outside_of_rest_framework_is_404_in_our_shape() -> None:
    assert_shape(APIClient().get("/api/v2/x/"), 404)
    assert_shape(APIClient().get("/api/"), 404)


def test_a_wrong_method_is_405_and_names_the_right_ones(client: APIClient) -> None:
    response = client.delete("/api/v1/projects/")
    assert_shape(response, 405)
    assert "GET" in response.headers["Allow"]


def test_a_wrong_content_type_is_415(client: APIClient) -> None:
    assert_shape(client.post("/api/v1/echo/", data="a=b", content_type="text/plain"), 415)


def test_a_refused_host_is_told_in_our_shape() -> None:
    assert_shape(APIClient(raise_request_exception=False).get("/api/v1/projects/", HTTP_HOST="evil.example"), 400)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e400}',
        b'{"a": 99999999999999999999999}',
        b'{"a": ' + b"9" * 6000 + b"}",
        b'{"a": "\\u0000"}',
        b'{"\\u0000": 1}',
        b'{"a": ["\\ud800"]}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b"[" * 100 + b"]" * 100,
        b"[" * 100_000,
    ],
)
def test_json_that_nothing_could_keep_is_malformed(client: APIClient, content: bytes) -> None:
    error = assert_shape(client.post("/api/v1/echo/", data=content, content_type="application/json"), 400)
    assert error["code"] == "malformed"


def test_a_body_above_the_limit_is_413(client: APIClient, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    content = json.dumps({"a": "x" * 200})
    assert_shape(client.post("/api/v1/echo/", data=content, content_type="application/json"), 413)


def test_a_body_of_unknown_length_is_refused_rather_than_lost(client: APIClient) -> None:
    response = client.generic(
        "POST", "/api/v1/echo/", b"{}", "application/json", HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH=""
    )
    assert assert_shape(response, 411)["code"] == "length_required"


def test_nested_errors_have_dotted_names(client: APIClient) -> None:
    error = assert_shape(
        client.post("/api/v1/strict/", {"name": "n", "stages": [{"name": "ok"}, {"name": "far too long"}]}), 400
    )
    assert list(error["fields"]) == ["stages.1.name"]
    assert error["message"].startswith("stages.1.name: ")


def test_an_unknown_field_is_named_with_the_nearest_known_one(client: APIClient) -> None:
    error = assert_shape(
        client.post(
            "/api/v1/strict/",
            {"nam": "n", "stages": [{"name": "a", "strat": True}], "options": {"x": 1, "name": "b"}, "made": "up"},
        ),
        400,
    )
    assert error["code"] == "unknown_field"
    assert error["fields"]["nam"] == ["Unknown. Did you mean “name”?"]
    assert error["fields"]["stages.0.strat"] == ["Unknown. Did you mean “start”?"]
    assert error["fields"]["options.x"] == ["Unknown."]
    assert error["fields"]["made"] == ["Read only."]


def test_an_error_of_the_whole_is_the_message(client: APIClient) -> None:
    error = assert_shape(client.post("/api/v1/strict/", {"name": "whole", "stages": []}), 400)
    assert error["message"] == "The whole is wrong."
    assert "fields" not in error


def test_numbers_json_lacks_are_strings_and_times_are_utc(
    client: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    monkeypatch.setattr(
        views.Echo,
        "answer",
        {
            "numbers": [math.nan, math.inf, -math.inf, 1.5, (math.nan, 2)],
            "keyed": {1: {"x": math.nan}, math.inf: 0},
            "at": datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=8))),
            "text": "\ud800 torn",
        },
    )
    response = client.get("/api/v1/echo/")
    body = json.loads(response.content, parse_constant=pytest.fail)
    assert body["numbers"] == ["NaN", "Infinity", "-Infinity", 1.5, ["NaN", 2]]
    assert body["keyed"] == {"1": {"x": "NaN"}, "Infinity": 0}
    assert body["at"] == "2026-05-01T04:00:00Z"
    assert body["text"] == "? torn"
    shown = client.get("/api/v1/things/")
    assert shown.status_code == 200


def test_times_of_models_are_utc_whatever_the_zone(client: APIClient, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    client.post("/api/v1/things/", {"name": "x"})
    assert client.get("/api/v1/things/").json()["results"][0]["created_at"].endswith("Z")


def test_the_trailing_slash_does_not_matter(client: APIClient) -> None:
    assert client.get("/api/v1/projects").status_code == 200
    assert client.post("/api/v1/echo", {"a": 1}).json() == {"a": 1}


def test_an_empty_body_is_an_empty_object(client: APIClient) -> None:
    assert client.post("/api/v1/echo/").json() == {}
