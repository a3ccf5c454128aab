"""Lists come in bounded pages, and a wrong question is an error, never everything."""

import pytest
from rest_framework.test import APIClient

from platform_site.common.models import Project
from tests import people

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("probes")]


@pytest.fixture
def client() -> APIClient:
    Project.objects.bulk_create(Project(slug=f"s{n:03}", name="running" if n % 2 else "failed") for n in range(600))
    return people.program(people.alice(), scope="read")


def test_a_page_has_count_next_previous_and_results(client: APIClient) -> None:
    body = client.get("/api/v1/things/", {"limit": 2, "offset": 2}).json()
    assert set(body) == {"count", "next", "previous", "results"}
    assert body["count"] == 600
    assert [row["slug"] for row in body["results"]] == ["s002", "s003"]
    assert client.get(body["next"]).json()["results"][0]["slug"] == "s004"
    assert client.get(body["previous"]).json()["results"][0]["slug"] == "s000"


def test_a_page_without_a_limit_is_bounded(client: APIClient) -> None:
    assert len(client.get("/api/v1/things/").json()["results"]) == 50


def test_a_limit_above_the_largest_page_is_cut_and_next_goes_on(client: APIClient) -> None:
    body = client.get("/api/v1/things/", {"limit": 100_000}).json()
    assert len(body["results"]) == 500
    assert len(client.get(body["next"]).json()["results"]) == 100


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "ten"},
        {"limit": "-1"},
        {"limit": "0"},
        {"limit": "1.5"},
        {"limit": "٣"},
        {"offset": "-1"},
        {"offset": "x"},
        {"offset": "9" * 30},
        {"offset": str(10**10)},
        {"status": "exploded"},
        {"since": "yesterday"},
        {"ordering": "name"},
        {"ordering": "password"},
        {"ordering": "slug,user__password"},
        {"user__password__startswith": "a"},
        {"statsu": "failed"},
        {"search": "x" * 201},
        {"search": "a\0b"},
    ],
)
def test_a_wrong_parameter_is_400_and_named(client: APIClient, query: dict[str, str]) -> None:
    response = client.get("/api/v1/things/", query)
    assert response.status_code == 400, response.content
    assert list(response.json()["error"].get("fields", query)) == list(query)


@pytest.mark.parametrize("status", ["running", "RUNNING", "Running"])
def test_statuses_match_in_any_case(client: APIClient, status: str) -> None:
    assert client.get("/api/v1/things/", {"status": status}).json()["count"] == 300


def test_the_nearest_parameter_is_offered(client: APIClient) -> None:
    fields = client.get("/api/v1/things/", {"statsu": "failed"}).json()["error"]["fields"]
    assert fields == {"statsu": ["Unknown. Did you mean “status”?"]}


def test_ordering_works_both_ways(client: APIClient) -> None:
    assert client.get("/api/v1/things/", {"ordering": "-slug"}).json()["results"][0]["slug"] == "s599"
    assert client.get("/api/v1/things/", {"ordering": "slug"}).json()["results"][0]["slug"] == "s000"


def test_search_looks_in_the_named_fields(client: APIClient) -> None:
    assert client.get("/api/v1/things/", {"search": "S59"}).json()["count"] == 10
