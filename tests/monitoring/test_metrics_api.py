"""The metrics of a run over HTTP, to the letter of the contract."""

from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from platform_site.common import roles, tokens
from platform_site.common.models import User

from .conftest import Run
from .lines import append, line


def user_with(role: roles.Role | None, name: str = "alice") -> User:
    user = User.objects.create_user(name, password="wonderland")
    if role is not None:
        roles.grant(user, role)
    return user


@pytest.fixture
def api(run: Run) -> "Api":
    return Api(run, user_with(roles.Role.VIEWER))


class Api:
    def __init__(self, run: Run, user: User) -> None:
        self.base = f"/api/v1/monitoring/{run.stream_id}/metrics/"
        _, key = tokens.issue(user, scope="read", days=1)
        self.client = Client(headers={"authorization": f"Token {key}"})

    def get(self, path: str = "", status: int = 200, **query: Any) -> Any:
        response = self.client.get(self.base + path, query)
        assert response.status_code == status, response.content
        return orjson.loads(response.content)


def test_series_have_value_minimum_and_maximum(run: Run, api: Api) -> None:
    append(run.attempt(), *[line(step, loss=step, lr="NaN" if step == 2 else 0.5) for step in range(1, 4)])
    run.sync()
    body = api.get(names="loss,lr")
    assert body == {
        "job": str(run.stream_id),
        "resolution": 1,
        "total_steps": 3,
        "segments": [{"attempt": 1, "resumed_from": None, "first_step": 1, "last_step": 3, "bad_lines": 0}],
        "cursor": 1,
        "warnings": [],
        "series": {
            "loss": [[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]],
            "lr": [[1, 0.5, 0.5, 0.5], [2, "NaN", None, None], [3, 0.5, 0.5, 0.5]],
        },
        "non_finite": {"lr": [[2, "NaN"]]},
    }


def test_without_names_there_are_the_names_and_no_series(run: Run, api: Api) -> None:
    append(run.attempt(), line(1, b=1, a=2))
    run.sync()
    body = api.get()
    assert body["names"] == ["a", "b"]
    assert "series" not in body


def test_a_run_without_any_metrics_yet_answers(api: Api) -> None:
    body = api.get(names="loss")
    assert (body["total_steps"], body["segments"], body["series"]) == (0, [], {"loss": []})
    assert api.get("rows/")["results"] == []
    assert api.get("anomalies/")["results"] == []


def test_points_and_range_are_kept(run: Run, api: Api) -> None:
    append(run.attempt(), *[line(step, loss=step) for step in range(1, 1001)])
    run.sync()
    body = api.get(names="loss", points=100, start_step=10, end_step=900)
    assert (body["resolution"], body["total_steps"]) == (16, 891)
    assert body["series"]["loss"][0] == [15, 15, 10, 15]
    assert body["series"]["loss"][-1] == [900, 900, 896, 900]


def test_rows_come_as_logged_page_by_page(run: Run, api: Api) -> None:
    anomaly = {"type": "nan_inf", "message": "no"}
    append(run.attempt(), *[line(step, loss=step) for step in range(1, 5)], line(5, loss="NaN", anomaly=anomaly))
    run.sync()
    first = api.get("rows/", limit=3, start_step=2)
    assert first["count"] == 4
    assert [row["step"] for row in first["results"]] == [2, 3, 4]
    second = orjson.loads(api.client.get(first["next"]).content)
    assert second["next"] is None
    assert second["results"] == [{"attempt": 1, "step": 5, "time": 1.5, "metrics": {"loss": "NaN"}, "anomaly": anomaly}]


def test_pages_of_rows_never_part_the_attempts_of_a_step(run: Run, api: Api) -> None:
    append(run.attempt(), *[line(step) for step in range(1, 4)])
    run.sync()
    append(run.attempt(2, resumed_from=3), line(3), line(4))
    run.sync()
    seen, url = [], f"{api.base}rows/?limit=3"
    while url:
        page = orjson.loads(api.client.get(url).content)
        seen += [(row["step"], row["attempt"]) for row in page["results"]]
        url = page["next"]
    assert seen == [(1, 1), (2, 1), (3, 1), (3, 2), (4, 2)]


def test_anomalies_are_the_flagged_steps(run: Run, api: Api) -> None:
    anomaly = {"type": "kl_explosion", "message": "7 > 1"}
    append(run.attempt(), line(1), line(2, anomaly=anomaly), line(3, anomaly=anomaly))
    run.sync()
    body = api.get("anomalies/", limit=1, offset=1)
    assert (body["count"], body["next"]) == (2, None)
    assert body["previous"].endswith("limit=1&offset=0")
    assert body["results"] == [{"attempt": 1, "step": 3, "time": 1.5, **anomaly}]


def test_one_attempt_can_be_asked_for(run: Run, api: Api) -> None:
    append(run.attempt(), *[line(step) for step in range(1, 10)])
    run.sync()
    append(run.attempt(2, resumed_from=5), line(6))
    run.sync()
    assert len(api.get(names="loss")["series"]["loss"]) == 6
    assert len(api.get(names="loss", attempt=1)["series"]["loss"]) == 9


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"points": "many"}, "points"),
        ({"points": "0"}, "points"),
        ({"points": "20001"}, "points"),
        ({"start_step": "-1"}, "start_step"),
        ({"end_step": "1e3"}, "end_step"),
        ({"start_step": "9", "end_step": "3"}, "start_step"),
        ({"attempt": "7"}, "attempt"),
        ({"nmaes": "loss"}, "nmaes"),
        ({"names": ",".join(f"m{i}" for i in range(101))}, "names"),
        ({"end_step": "9" * 30}, "end_step"),
        ({"start_step": "٣"}, "start_step"),
    ],
)
def test_bad_parameters_are_named(api: Api, query: dict[str, str], field: str) -> None:
    assert field in api.get(status=400, **query)["error"]["fields"]


def test_unknown_runs_are_404(api: Api) -> None:
    for job in (uuid4(), "not-a-uuid"):
        response = api.client.get(f"/api/v1/monitoring/{job}/metrics/")
        assert response.status_code == 404
        assert "error" in orjson.loads(response.content)


def test_strangers_get_nothing(run: Run) -> None:
    assert Client().get(f"/api/v1/monitoring/{run.stream_id}/metrics/").status_code == 401
    nobody = Client()
    nobody.force_login(user_with(None, "bob"))
    assert nobody.get(f"/api/v1/monitoring/{run.stream_id}/metrics/").status_code == 403


def test_queries_are_the_same_at_any_length(run: Run, api: Api) -> None:
    path = run.attempt()

    def cost(path: str, **query: Any) -> int:
        with CaptureQueriesContext(connection) as queries:
            api.get(path, **query)
        return len(queries)

    api.get()  # the first request of a token notes that it is used
    asked = [("", {"names": "loss", "points": 50}), ("rows/", {"limit": 20}), ("anomalies/", {})]
    append(path, *[line(step) for step in range(600)])
    run.sync()
    short = [cost(where, **query) for where, query in asked]
    append(path, *[line(step) for step in range(600, 9000)])
    run.sync()
    assert [cost(where, **query) for where, query in asked] == short
    assert max(short) <= 12


def test_lines_that_could_not_be_used_are_listed_with_place_and_reason(run: Run, api: Api) -> None:
    append(run.attempt(), line(1), b"[1]\n", b"{'a': 1}\n")
    run.sync()
    body = api.get("bad-lines/", limit=1)
    assert body["count"] == 2
    assert body["previous"] is None
    assert body["results"] == [
        {
            "attempt": 1,
            "generation": 0,
            "offset": len(line(1)),
            "reason": "not a JSON object",
            "excerpt": "[1]",
        }
    ]
    ((second,), following) = (api.get("bad-lines/", limit=1, offset=1)[name] for name in ("results", "next"))
    assert second["reason"].startswith("not JSON: ")
    assert following is None
    assert body["next"].endswith("limit=1&offset=1")
    assert api.get()["warnings"] == [{"code": "bad_lines", "count": 2}]
