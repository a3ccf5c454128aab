"""The one character that PostgreSQL stores in no text is refused before anybody looks at what is asked for."""

import pytest
from django.test import Client

from tests import people

pytestmark = pytest.mark.django_db

PAGES = [
    "/jobs/?search=%00",
    "/tasks/?queue=a%00b",
    "/recipes/diff/?left=%00&right=tiny-sft",
    "/notifications/?kind=%00",
    "/recipes/%00/",
]
API = [
    "recipes/?search=%00",
    "recipes/diff/?left=tiny-sft&right=%00",
    "monitoring/00000000-0000-4000-8000-000000000000/metrics/?names=a%00b",
]


@pytest.mark.parametrize("address", PAGES)
def test_pages_say_that_the_address_cannot_be_read(client: Client, address: str) -> None:
    client.force_login(people.alice())
    assert client.get(address).status_code == 400


@pytest.mark.parametrize("address", API)
def test_programs_are_told_in_the_form_of_every_error(client: Client, address: str) -> None:
    client.force_login(people.alice())
    answer = client.get(f"/api/v1/{address}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


def test_what_only_looks_like_it_passes(client: Client) -> None:
    client.force_login(people.alice())
    assert client.get("/jobs/?search=%2500").status_code == 200
