"""Rollouts over the API: steps with their figures, and samples by reward, group and page."""

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from pipelines.api import rollouts as api
from platform_site.common.roles import Role
from tests import people
from tests.browser import world
from tests.pages import rollout_runs as by_reward

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(tmp_path: Path) -> world.Run:
    return by_reward.run(root=tmp_path)


class Asked:
    def __init__(self, run: world.Run) -> None:
        self.client: APIClient = people.program(people.person("vera", Role.VIEWER), "read")
        self.base = f"/api/v1/jobs/{run.job.pk}/rollouts/"

    def get(self, path: str = "", status: int = 200, **query: Any) -> Any:
        answer = self.client.get(path if path.startswith("http") else self.base + path, query)
        assert answer.status_code == status, answer.content
        return answer.json()


@pytest.fixture
def asked(run: world.Run) -> Asked:
    return Asked(run)


def test_steps_come_with_their_figures(run: world.Run, asked: Asked) -> None:
    path = by_reward.write(run, 3, [[0.0, 1.0], ["NaN", 0.5]])
    path.write_bytes(path.read_bytes() + b"?\n")
    by_reward.look(run)
    assert asked.get() == {
        "count": 1,
        "next": None,
        "previous": None,
        "results": [
            {
                "step": 3,
                "attempt": 1,
                "samples": 4,
                "groups": 2,
                "reward_min": 0.0,
                "reward_mean": 0.5,
                "reward_max": 1.0,
                "size": path.stat().st_size,
                "bad_lines": 1,
                "cut": False,
                "problem": None,
            }
        ],
    }


def test_samples_come_as_they_were_written(run: world.Run, asked: Asked) -> None:
    by_reward.write(run, 1, [["-Infinity"]], response="a\u202eb\x00", row=17, answer={"value": [1]})
    by_reward.look(run)
    body = asked.get("1/")
    assert body["results"] == [
        {
            "group": 0,
            "sample": 0,
            "row": 17,
            "prompt": [{"role": "user", "content": "What is 0 plus 1?"}],
            "response": "a\u202eb\x00",
            "tokens": 4,
            "answer": {"value": [1]},
            "reward": "-Infinity",
            "parts": {"exact_match": "-Infinity"},
        }
    ]
    rest = {name: value for name, value in body.items() if name != "results"}
    assert rest == {
        "count": 1, "next": None, "previous": None, "step": 1, "attempt": 1, "attempts": [1], "cut": False,
        "bad_lines": 0, "bad": [],
    }  # fmt: skip


def rewards(body: Any) -> list[Any]:
    return [sample["reward"] for sample in body["results"]]


def test_samples_are_filtered_and_put_in_order(run: world.Run, asked: Asked) -> None:
    by_reward.write(run, 1, [[0.25, 1.0], [0.5, "NaN"]])
    by_reward.look(run)
    assert rewards(asked.get("1/")) == [0.25, 1.0, 0.5, "NaN"]
    assert rewards(asked.get("1/", min_reward=0.5)) == [1.0, 0.5]
    assert rewards(asked.get("1/", min_reward=0.5, max_reward=0.5)) == [0.5]
    assert rewards(asked.get("1/", max_reward=0.4)) == [0.25]
    assert rewards(asked.get("1/", group=1)) == [0.5, "NaN"]
    assert rewards(asked.get("1/", ordering="-reward")) == [1.0, 0.5, 0.25, "NaN"]
    assert asked.get("1/", min_reward=9)["count"] == 0


def test_pages_follow_each_other_to_the_end(run: world.Run, asked: Asked) -> None:
    by_reward.write(run, 1, [[float(n) for n in range(7)]])
    by_reward.look(run)
    seen, body = [], asked.get("1/", limit=3, min_reward=1)
    while True:
        seen.append(rewards(body))
        if body["next"] is None:
            break
        body = asked.get(body["next"])
    assert seen == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert rewards(asked.get(body["previous"])) == [1.0, 2.0, 3.0]


def test_a_page_of_long_answers_is_shorter_and_loses_none(run: world.Run, asked: Asked) -> None:
    long = "x" * (3 << 20)
    by_reward.write(run, 1, [[0.0, 1.0, 2.0, 3.0, 4.0]], response=long)
    by_reward.look(run)
    assert 2 * len(long) < api.MOST_BYTES < 3 * len(long)
    first = asked.get("1/")
    assert (rewards(first), first["count"]) == ([0.0, 1.0], 5)
    second = asked.get(first["next"])
    assert rewards(second) == [2.0, 3.0]
    assert rewards(asked.get(second["next"])) == [4.0]


def test_both_attempts_of_a_step_can_be_asked_for(run: world.Run, asked: Asked) -> None:
    for step in (1, 2, 3):
        by_reward.write(run, step, [[0.0]])
    by_reward.look(run)
    second = by_reward.again(run, resumed_from=1)
    by_reward.write(second, 2, [[1.0]])
    by_reward.look(second)
    together = [(row["step"], row["attempt"]) for row in asked.get()["results"]]
    assert together == [(1, 1), (2, 2)]
    assert [row["step"] for row in asked.get(attempt=1)["results"]] == [1, 2, 3]
    newer, older = asked.get("2/"), asked.get("2/", attempt=1)
    assert (newer["attempt"], rewards(newer), newer["attempts"]) == (2, [1.0], [1, 2])
    assert (older["attempt"], rewards(older)) == (1, [0.0])
    asked.get("3/", status=404)
    assert rewards(asked.get("3/", attempt=1)) == [0.0]


def test_steps_can_be_narrowed_and_put_in_order(run: world.Run, asked: Asked) -> None:
    for step, reward in ((1, 0.5), (2, 0.0), (3, 1.0)):
        by_reward.write(run, step, [[reward]])
    by_reward.look(run)
    assert [row["step"] for row in asked.get(start_step=2)["results"]] == [2, 3]
    assert [row["step"] for row in asked.get(end_step=2)["results"]] == [1, 2]
    assert [row["step"] for row in asked.get(ordering="reward_mean")["results"]] == [2, 1, 3]


@pytest.mark.parametrize(
    ("path", "query", "name"),
    [
        ("1/", {"min_reward": "much"}, "min_reward"),
        ("1/", {"max_reward": "nan"}, "max_reward"),
        ("1/", {"group": "-1"}, "group"),
        ("1/", {"ordering": "sample"}, "ordering"),
        ("1/", {"attempt": "9"}, "attempt"),
        ("1/", {"step": "9"}, "step"),
        ("", {"start_step": "x"}, "start_step"),
        ("", {"reward": "1"}, "reward"),
    ],
)
def test_a_wrong_question_is_refused_by_name(
    run: world.Run, asked: Asked, path: str, query: dict[str, str], name: str
) -> None:
    by_reward.write(run, 1, [[1.0]])
    by_reward.look(run)
    assert name in asked.get(path, 400, **query)["error"]["fields"]


def test_what_is_not_there_is_not_found(run: world.Run, asked: Asked) -> None:
    path = by_reward.write(run, 1, [[1.0]])
    by_reward.look(run)
    asked.get("2/", 404)
    asked.get(f"{10**18}/", 404)
    asked.base = f"/api/v1/jobs/{uuid4()}/rollouts/"
    asked.get("", 404)
    asked.get("1/", 404)
    asked.base = f"/api/v1/jobs/{run.job.pk}/rollouts/"
    path.unlink()
    error = asked.get("1/", 404)["error"]
    assert error["code"] == "gone"
    assert "is gone from host local" in error["message"]
    assert asked.get()["results"][0]["problem"] == "the file is gone"


def test_a_pipe_in_a_files_place_is_told_and_holds_nobody(run: world.Run, asked: Asked) -> None:
    path = by_reward.write(run, 1, [[1.0]])
    by_reward.look(run)
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in asked.get("1/", 503)["error"]["message"]


def test_queries_do_not_depend_on_how_much_there_is(tmp_path: Path) -> None:
    counts: list[int] = []
    runs = {steps: by_reward.run(root=tmp_path / str(steps)) for steps in (2, 40)}
    asked = Asked(runs[2])
    asked.get()  # a token remembers when it was first used
    for steps, run in runs.items():
        asked.base = f"/api/v1/jobs/{run.job.pk}/rollouts/"
        for step in range(1, steps + 1):
            by_reward.write(run, step, [[0.0, 1.0]] * steps)
        by_reward.look(run)
        with CaptureQueriesContext(connection) as queries:
            asked.get()
            asked.get("2/")
        counts.append(len(queries))
    assert counts[0] == counts[1]
