"""Data goes in and out by the pages, and what is wrong with a file is told by line."""

import json
import shutil

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from datasets.models import Dataset, DatasetVersion
from datasets.services import preview, store
from pipelines.services.builtin import install
from platform_site.common.roles import Role
from tests.browser import world
from tests.datasets.files import conversation, jsonl, sums

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    install()
    client = Client()
    client.force_login(world.person("alice", Role.OPERATOR))
    yield client
    shutil.rmtree(store.root(), ignore_errors=True)


def send(client, content, url="/datasets/new/", **fields):
    given = {"name": "My sums", "kind": "sft", **fields, "file": SimpleUploadedFile("data.jsonl", content)}
    return client.post(url, given)


def test_a_file_becomes_a_dataset_whose_rows_are_shown(alice):
    answer = send(alice, sums(3), description="By hand")
    assert (answer.status_code, answer["Location"]) == (302, "/datasets/my-sums/")
    html = alice.get("/datasets/my-sums/").content.decode()
    assert "By hand" in html
    assert "2+1?" in html
    assert "First rows of version 1" in html
    assert "New version" in html


def test_wrong_lines_are_told_and_nothing_is_kept(alice):
    answer = send(alice, jsonl(conversation(), {"messages": []}, {"messages": [{"role": "<b>x</b>", "content": ""}]}))
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "Line 2:" in html
    assert "Line 3:" in html
    assert 'value="My sums"' in html
    assert not Dataset.objects.filter(slug="my-sums").exists()


def test_a_hundred_wrong_lines_are_not_all_listed(alice):
    html = send(alice, b"nonsense\n" * 60).content.decode()
    assert html.count("Line ") == 20
    assert "and 40 more" in html


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"name": ""}, "This field is required"), ({"kind": "nonsense"}, "Select a valid choice")],
)
def test_a_missing_or_wrong_field_is_named(alice, fields, told):
    answer = send(alice, sums(2), **fields)
    assert answer.status_code == 422
    assert told in answer.content.decode()


def test_without_a_file_the_form_says_so(alice):
    answer = alice.post("/datasets/new/", {"name": "x", "kind": "sft"})
    assert answer.status_code == 422
    assert "This field is required" in answer.content.decode()


def test_a_name_that_is_taken_is_told_at_the_name(alice):
    send(alice, sums(2))
    answer = send(alice, sums(5))
    assert answer.status_code == 422
    assert "There is a dataset “my-sums” already" in answer.content.decode()


def test_a_version_is_added_shown_and_given_back(alice):
    send(alice, sums(2))
    url = "/datasets/my-sums/versions/new/"
    assert "Version 2 was made." in send(alice, sums(3), url).wsgi_request._messages._queued_messages[0].message
    assert "already" in send(alice, sums(2), url).wsgi_request._messages._queued_messages[0].message
    assert DatasetVersion.objects.filter(dataset__slug="my-sums").count() == 2
    assert "First rows of version 1" in alice.get("/datasets/my-sums/?version=1").content.decode()
    answer = alice.get("/datasets/my-sums/versions/2/file/")
    assert b"".join(answer.streaming_content) == sums(3)
    assert 'filename="my-sums-2.jsonl"' in answer["Content-Disposition"]
    assert alice.get("/datasets/my-sums/versions/9/file/").status_code == 404


def test_a_built_in_dataset_takes_no_version(alice):
    assert send(alice, sums(2), "/datasets/arithmetic/versions/new/").status_code == 403
    assert "versions/new" not in alice.get("/datasets/arithmetic/").content.decode()


def test_a_file_that_is_too_large_is_refused_before_it_is_read(alice, settings):
    settings.DATASET_MAX_BYTES = 1000
    answer = send(alice, sums(5000))
    assert answer.status_code == 413
    assert "larger than the 1,000 bytes" in answer.content.decode()
    assert send(alice, sums(50)).status_code == 422
    assert not Dataset.objects.filter(slug="my-sums").exists()


def test_a_viewer_sends_nothing(alice):
    client = Client()
    client.force_login(world.person("vera", Role.VIEWER))
    assert send(client, sums(2)).status_code == 403
    assert "/datasets/new/" not in client.get("/datasets/").content.decode()


def test_a_preview_is_bounded_and_survives_a_file_that_is_gone(alice):
    send(alice, jsonl(*(conversation("x" * 9000, source={"page": n}) for n in range(50))))
    version = DatasetVersion.objects.get(dataset__slug="my-sums")
    rows = preview.first_rows(version)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert len(rows[0].turns[0].text) == preview.LONGEST + 1
    assert json.loads(rows[4].rest) == {"source": {"page": 4}}
    store.path_of(version.sha256, version.format).unlink()
    assert preview.first_rows(version) == []
    assert "the file is gone" in alice.get("/datasets/my-sums/").content.decode()


def test_what_stands_in_a_row_is_shown_as_text(alice):
    send(alice, jsonl(conversation("<script>alert(1)</script>")))
    html = alice.get("/datasets/my-sums/").content.decode()
    assert "<script>alert(1)</script>" not in html
    assert "&lt;script&gt;alert(1)" in html
