"""`manage.py bench`: one JSON object, and never a word in anybody's real data."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from platform_site.benches.figures import Figures, percentile, spread
from platform_site.management.commands.bench import BENCHES
from tests.ssh import sshd

pytestmark = [pytest.mark.bench, pytest.mark.timeout(400)]


def bench(*args: str, data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "bench", *args],
        env={**os.environ, "ANNEAL_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )


def measured(name: str, tmp_path: Path) -> dict[str, Any]:
    """What a bench prints, which is as it has to be for each of them."""
    done = bench(name, "--quick", data=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "data").glob("anneal.sqlite3"))
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["bench"], found["quick"]) == (name, True)
    assert found.keys() >= {"figures", "limit", "ratios", "goals", "versions", "machine"}
    assert found["figures"]
    assert found["limit"]
    for goal in found["goals"].values():
        assert goal.keys() in ({"value", "at_most", "met"}, {"value", "at_least", "met"})
    return found


@pytest.mark.parametrize("name", sorted(BENCHES.keys() - {"pages", "pipeline"}))
def test_each_bench_prints_figures_limit_and_goals_as_one_object(tmp_path: Path, name: str) -> None:
    if name == "ssh":
        sshd.need()
    assert measured(name, tmp_path)["goals"]


def test_the_bench_of_pipelines_runs_chain_and_fan_to_their_end(tmp_path: Path) -> None:
    """It raises, and the command fails, when one stage of them did not complete."""
    found = measured("pipeline", tmp_path)

    figures, limit = found["figures"], found["limit"]
    for times in (
        figures["chain_ms_a_stage"],
        figures["fan_out_ms"],
        figures["idle_pick_up_ms"],
        *(limit[name] for name in ("redis_and_two_commits_ms", "redis_and_two_commits_fan_out_ms", "bare_hop_ms")),
    ):
        assert times["n"] == 1
        assert times["p50"] > 0
    assert found["goals"].keys() == {"chain_ms_a_stage", "fan_out_ms", "idle_pick_up_ms", "rest_percent_of_a_core"}
    assert found["ratios"]["chain"] == pytest.approx(
        figures["chain_ms_a_stage"]["p50"] / limit["redis_and_two_commits_ms"]["p50"], rel=0.05
    )
    assert figures["rest_percent_of_a_core"].keys() >= {"web", "worker"}


def test_none_of_the_pages_asks_the_database_more_often_where_there_is_more(tmp_path: Path) -> None:
    """Twice as many pipelines, and a run twice as long."""
    found = measured("pages", tmp_path)

    pages = found["figures"]["pages"]
    assert pages.keys() >= {"home", "jobs", "job", "job-compare", "pipelines", "pipeline", "tasks", "recipe", "system"}
    assert {name: page["queries"] for name, page in pages.items()} == {
        name: page["queries_before"] for name, page in pages.items()
    }
    assert all(page["ms"]["n"] == 2 for page in pages.values())
    assert found["goals"].keys() == {"slowest_p95_ms", "most_queries_more"}


def test_runs_are_made_up_in_no_folder_but_a_bench_s_own(tmp_path: Path) -> None:
    done = bench("ingest", "--here", data=tmp_path / "real")
    assert done.returncode != 0
    assert "was not made for a bench" in done.stderr
    assert not list((tmp_path / "real").glob("anneal.sqlite3"))


def test_figures_say_whether_goals_are_met() -> None:
    figures = Figures()
    figures.at_most("ms", 3.0, 4)
    figures.at_least("steps", 3.0, 4)
    assert figures.goals["ms"]["met"] is True
    assert figures.goals["steps"]["met"] is False
    assert percentile([5.0, 1.0, 3.0], 0.5) == 3.0
    assert spread([0.001] * 10)["p95"] == 1.0
