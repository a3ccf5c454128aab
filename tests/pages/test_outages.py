"""What the platform stands on is away: page and API say which, what to do, and when to come back."""

import errno
import json
from pathlib import Path

import pytest
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from pytest_django.fixtures import Settings

from platform_site.common.outages import FULL_BYTES, data_folder, outage
from platform_site.common.pages import needs
from platform_site.common.roles import Role
from tests import people
from tests.volumes import fill, volume

pytestmark = pytest.mark.django_db

RAISED: dict[str, Exception] = {
    "database": OperationalError("sekrit internals"),
    "disk": OSError(errno.ENOSPC, "No space left on device", "/sekrit/path"),
    "crash": RuntimeError("sekrit internals"),
}


@needs(Role.VIEWER)
def breaks(request: HttpRequest, what: str) -> HttpResponse:
    raise RAISED[what]


urlpatterns = [path("breaks/<what>", breaks), path("api/v1/breaks/<what>/", breaks)]
handler500 = "platform_site.views.errors.server_error"


@pytest.fixture
def visitor(settings: Settings) -> Client:
    settings.ROOT_URLCONF = __name__
    return people.browser(people.alice())


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        ("database", 503, "The database does not answer."),
        ("disk", 503, "No space left on the volume of"),
        ("crash", 500, "Something broke"),
    ],
)
def test_a_page_says_what_is_away(visitor: Client, what: str, status: int, says: str) -> None:
    answer = visitor.get(f"/breaks/{what}")
    page = answer.content.decode()
    assert answer.status_code == status
    assert says in page
    assert "sekrit" not in page
    assert answer.headers.get("Retry-After") == ("5" if status == 503 else None)


@pytest.mark.parametrize(("what", "code"), [("database", "unavailable"), ("disk", "disk_full")])
def test_the_api_says_it_in_its_shape_also_before_its_views(visitor: Client, what: str, code: str) -> None:
    answer = visitor.get(f"/api/v1/breaks/{what}/")
    error = json.loads(answer.content)["error"]
    assert (answer.status_code, error["code"]) == (503, code)
    assert "sekrit" not in answer.content.decode()


def test_a_full_data_folder_is_named_and_not_taken_for_the_database(tmp_path: Path, settings: Settings) -> None:
    with volume(tmp_path / "small", 2 * (FULL_BYTES >> 20)) as small:
        settings.DATA_DIR = small
        assert data_folder() == ""
        filler = fill(small)
        away = outage(OperationalError("disk I/O error"))
        assert away is not None
        assert away.code == "disk_full"
        assert away.message.startswith("No space left on the volume of the data folder: 0 MB free.")
        assert str(small) not in away.message
        answer = Client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["disk"] == away.message
        filler.unlink()
        assert data_folder() == ""
