"""`manage.py bench`: one JSON object, and never a word in anybody's real data."""

import json
import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from platform_site.benches.figures import Figures, percentile, spread


def bench(*args: str, data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "bench", *args],
        env={**os.environ, "ANNEAL_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_bench_prints_figures_limit_and_goals_as_one_object(tmp_path: Path) -> None:
    done = bench("callback", data=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bench"] == "callback"
    assert found.keys() >= {"figures", "limit", "ratios", "goals", "versions", "machine"}
    assert set(found["goals"]["p50_of_limit"]) == {"value", "at_most", "met"}
    assert not list((tmp_path / "data").glob("anneal.sqlite3"))


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
