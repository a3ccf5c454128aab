"""Streams are shown in the admin, and nobody changes them there."""

import pytest
from django.test import Client

from platform_site.common import roles

from .conftest import Run
from .lines import append, line
from .test_metrics_api import user_with


@pytest.fixture
def admin(run: Run) -> Client:
    client = Client()
    client.force_login(user_with(roles.Role.ADMIN, "root"))
    return client


def test_a_stream_is_shown_with_its_segments(run: Run, admin: Client) -> None:
    append(run.attempt(), line(7), b"garbage\n")
    run.sync()
    listed = admin.get("/admin/monitoring/stream/")
    assert str(run.stream_id) in listed.content.decode()
    page = admin.get(f"/admin/monitoring/stream/{run.stream_id}/change/").content.decode()
    assert "_metrics.jsonl" in page
    assert 'name="_save"' not in page
    assert "garbage" in admin.get("/admin/monitoring/badline/").content.decode()


@pytest.mark.parametrize("path", ["add/", "{id}/delete/"])
def test_nothing_is_made_or_removed_there(run: Run, admin: Client, path: str) -> None:
    assert admin.get("/admin/monitoring/stream/" + path.format(id=run.stream_id)).status_code == 403
