"""Datasets over REST, in the contract's shapes."""

import os

import pytest

from datasets.models import Dataset, DatasetVersion
from datasets.services import store
from datasets.services.sources import import_folder
from platform_site.common.models import AuditEvent
from tests.people import alice, bob, program

from .files import conversation, jsonl, sums, upload

URL = "/api/v1/datasets/"


@pytest.fixture
def operator(project):
    return program(bob())


def post(client, url=URL, content=None, **fields):
    if content is not None:
        fields["file"] = upload(content)
    return client.post(url, fields, format="multipart")


def made(client, content=None, **fields):
    return post(client, content=content or sums(10), **{"name": "My sums", "kind": "sft", **fields})


def error(response):
    return response.status_code, response.json()["error"]["code"], response.json()["error"].get("fields", {})


def test_posting_a_file_makes_a_dataset_with_its_first_version(operator):
    response = made(operator)
    assert response.status_code == 201
    body = response.json()
    assert (body["slug"], body["name"], body["kind"], body["versions"]) == ("my-sums", "My sums", "sft", 1)
    version = body["latest"]
    assert (version["number"], version["rows"], version["columns"], version["format"]) == (1, 10, ["messages"], "jsonl")
    assert (version["copies"], version["used_by"]) == ([], [])
    assert len(version["sha256"]) == 64
    assert AuditEvent.objects.filter(action="dataset.create", actor_name="bob").exists()


def test_the_list_is_a_page_and_can_be_searched(operator):
    made(operator)
    made(operator, name="Other")
    body = operator.get(URL, {"search": "other"}).json()
    assert set(body) == {"count", "next", "previous", "results"}
    assert [row["slug"] for row in body["results"]] == ["other"]


def test_the_number_of_queries_does_not_grow_with_the_list(operator, django_assert_max_num_queries):
    for number in range(8):
        made(operator, name=f"Set {number}")
    with django_assert_max_num_queries(12):
        assert len(operator.get(URL).json()["results"]) == 8


def test_a_name_in_another_script_gets_a_slug(operator):
    slug = made(operator, name="算术题").json()["slug"]
    assert slug.startswith("dataset-")
    assert made(operator, name="算术题").json()["slug"] == slug


def test_the_same_post_again_is_the_same_dataset(operator):
    made(operator)
    assert made(operator).status_code == 201
    assert (Dataset.objects.count(), DatasetVersion.objects.count()) == (1, 1)


def test_another_content_under_a_taken_name_is_a_conflict(operator):
    made(operator)
    assert error(made(operator, content=sums(11)))[:2] == (409, "name_taken")


def test_a_wrong_file_is_refused_by_line_and_leaves_nothing(operator):
    response = made(operator, content=jsonl(conversation(), {"messages": []}))
    assert error(response)[:2] == (422, "invalid_data")
    assert response.json()["error"]["errors"] == [
        {"line": 2, "message": "“messages” must be a list of at least one message."}
    ]
    assert not Dataset.objects.exists()
    assert not list(store.root().rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"kind": "nonsense"}, 400, "kind"),
        ({"name": ""}, 400, "name"),
        ({"colour": "red"}, 400, "colour"),
        ({"slug": "Not A Slug"}, 422, "slug"),
        ({"slug": "validate"}, 422, "slug"),
        ({"slug": "../../etc"}, 422, "slug"),
        ({"path": "also.jsonl"}, 400, "file"),
    ],
)
def test_wrong_fields_are_named(operator, fields, status, field):
    got, _code, named = error(made(operator, **fields))
    assert (got, field in named) == (status, True), named


def test_neither_file_nor_path_is_an_error(operator):
    assert error(post(operator, name="x", kind="sft"))[0] == 400


def test_an_upload_that_is_too_large_is_413(operator, settings):
    settings.DATASET_MAX_BYTES = 1000
    assert error(made(operator, content=sums(50)))[:2] == (413, "too_large")
    assert error(made(operator, content=sums(5000)))[:2] == (413, "too_large")
    assert not Dataset.objects.exists()


def test_a_version_is_added_and_a_known_one_found(operator):
    made(operator)
    url = f"{URL}my-sums/versions/"
    assert post(operator, url, sums(11)).json()["number"] == 2
    assert post(operator, url, sums(10)).json()["number"] == 1
    body = operator.get(url).json()
    assert [row["number"] for row in body["results"]] == [2, 1]


def test_verify_says_whether_the_file_is_what_it_was(operator):
    made(operator)
    version = DatasetVersion.objects.get()
    url = f"{URL}my-sums/versions/1/verify/"
    assert operator.post(url).json() == {"ok": True, "sha256": version.sha256, "problem": ""}
    store.path_of(version.sha256, "jsonl").write_bytes(b"rot")
    assert operator.post(url).json()["ok"] is False


def test_validate_reports_by_line_and_keeps_nothing(operator):
    response = post(operator, f"{URL}validate/", jsonl(conversation(), {"messages": []}), kind="sft")
    assert response.status_code == 200
    body = response.json()
    assert (body["valid"], body["rows"]) == (False, 2)
    assert [row["line"] for row in body["errors"]] == [2]
    assert body["warnings"] == []
    assert not Dataset.objects.exists()
    assert not store.root().exists()


def test_a_file_in_the_import_folder_can_be_named(operator):
    import_folder().mkdir(parents=True, exist_ok=True)
    (import_folder() / "a.jsonl").write_bytes(sums(4))
    assert made(operator, path="a.jsonl", content=None).status_code == 400  # a file was sent too
    body = operator.post(URL, {"name": "One", "kind": "sft", "path": "a.jsonl"}, format="json").json()
    assert body["latest"]["rows"] == 4
    whole = str(import_folder() / "a.jsonl")
    assert operator.post(URL, {"name": "Two", "kind": "sft", "path": whole}, format="json").status_code == 201


@pytest.mark.security
@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../anneal.sqlite3",
        "sub/../../secret_key",
        "..\\secret_key",
        "%2e%2e/secret_key",
        "%252e%252e/secret_key",
        "a\x00.jsonl",
        "",
        ".",
        "/",
        "link.jsonl",
        "linked/secret_key",
        "pipe",
        "folder",
        "missing.jsonl",
    ],
)
def test_a_path_never_leaves_the_import_folder(operator, path, settings, tmp_path):
    folder = import_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "folder").mkdir(exist_ok=True)
    for name, target in (("link.jsonl", "/etc/passwd"), ("linked", str(settings.DATA_DIR))):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)
    if not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")
    response = operator.post(f"{URL}validate/", {"kind": "sft", "path": path}, format="json")
    assert response.status_code in (400, 404, 422)
    assert "root:" not in response.content.decode()


def test_roles_decide(project):
    viewer, stranger = program(alice()), program(bob(), "read")
    assert viewer.get(URL).status_code == 200
    assert made(viewer).status_code == 403
    assert made(stranger).status_code == 403


def test_a_built_in_dataset_does_not_change(operator, project):
    Dataset.objects.create(project=project, slug="fixed", name="Fixed", kind="sft", is_builtin=True)
    assert error(post(operator, f"{URL}fixed/versions/", sums(3)))[:2] == (403, "built_in")


@pytest.mark.parametrize("url", ["nothing/versions/", "nothing/versions/1/verify/"])
def test_what_is_not_there_is_404(operator, url):
    assert post(operator, URL + url, sums(1)).status_code == 404


def test_an_idempotency_key_makes_one_dataset(operator):
    headers = {"HTTP_IDEMPOTENCY_KEY": "abc"}
    first = operator.post(URL, {"name": "K", "kind": "sft", "file": upload(sums(3))}, format="multipart", **headers)
    again = operator.post(URL, {"name": "K", "kind": "sft", "file": upload(sums(3))}, format="multipart", **headers)
    other = operator.post(URL, {"name": "K", "kind": "sft", "file": upload(sums(4))}, format="multipart", **headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert first.json()["slug"] == again.json()["slug"]
