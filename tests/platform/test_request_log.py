"""Every request is one structured line, without what could be secret; records never span lines."""

import json
import logging

import pytest
from django.test import Client

from platform_site.logs import JsonLine, WithTraceback


@pytest.mark.django_db
def test_a_request_is_logged_once_with_status_and_time_but_without_its_query(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "anneal.request"):
        client.get("/login/?token=hunter2", headers={"Authorization": "Token hunter2"})
    lines = [json.loads(JsonLine().format(record)) for record in caplog.records if record.name == "anneal.request"]
    assert len(lines) == 1
    assert (lines[0]["method"], lines[0]["path"], lines[0]["status"]) == ("GET", "/login/", 200)
    assert lines[0]["ms"] >= 0
    assert "hunter2" not in json.dumps(lines)


def test_health_questions_are_not_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        client.get("/healthz")
    assert caplog.records == []


def test_text_with_line_breaks_stays_on_one_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "a\n%s", ("b\r\nc",), None)
    record.odd = object()
    line = JsonLine().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "a\nb\r\nc"


def test_a_traceback_is_part_of_the_line() -> None:
    try:
        raise ValueError("oops")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "m", (), (type(error), error, error.__traceback__))
    assert WithTraceback().filter(record)
    line = JsonLine().format(record)
    assert "\n" not in line
    assert "ValueError: oops" in json.loads(line)["exception"]


@pytest.mark.django_db
def test_the_api_answers_with_and_without_the_trailing_slash(client: Client) -> None:
    for method in (client.get, client.post):
        with_slash, without = method("/api/v1/jobs/"), method("/api/v1/jobs")
        assert with_slash.status_code == without.status_code == 401
        assert with_slash.json() == without.json()
