"""The evaluation's program before any model is loaded: what cannot work is told at once, by the standard library."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from platform_runtime.evaluate import SAMPLES, TASK, UNUSABLE, WORK, Item, Task, judged, read_suite

from .runs import RUNNER

SUITE = b'{"question": "1+1?", "answer": "2"}\n{"question": "1+2?", "answer": "it is 3"}\n'


def run(root: Path, suite: bytes, **task: Any) -> tuple[int, dict[str, Any], Path]:
    """As the runner does it, with nothing installed: the exit code, result.json, the folder."""
    name = str(uuid.uuid4())
    folder = root / "a folder" / name / "attempt-1"
    folder.mkdir(parents=True)
    (folder / "suite.jsonl").write_bytes(suite)
    content = Task(**{"suite": str(folder / "suite.jsonl"), "uuid": name, "model": "builtin:tiny-llama", **task})
    (folder / TASK).write_bytes(content.to_bytes())
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "platform_runtime.evaluate", str(folder)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(RUNNER.parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    result = folder / "result.json"
    return done.returncode, json.loads(result.read_text()) if result.exists() else {}, folder


@pytest.mark.parametrize(
    ("suite", "task", "told"),
    [
        (b"", {}, "empty"),
        (SUITE + b"{broken\n", {}, "Line 3 of the suite: not JSON"),
        (b'{"question": "1+1?"}\n', {}, "Line 1 of the suite: “answer” is not text"),
        (b'{"question": "1+1?", "answer": "two"}\n', {"extract": "last_number"}, "nothing to compare with"),
        (SUITE, {"extract": "first"}, "text, last_number"),
        (SUITE, {"checkpoint": "/no/such/global_step_1"}, "checkpoint cannot be loaded"),
    ],
)
def test_what_cannot_work_is_told_and_not_tried_again(
    tmp_path: Path, suite: bytes, task: dict[str, Any], told: str
) -> None:
    code, result, folder = run(tmp_path, suite, **task)
    assert code == UNUSABLE
    assert told in result["error"]
    assert not (folder / SAMPLES).exists()


def test_whoever_ends_early_leaves_no_work_behind_and_says_how_much_there_was(tmp_path: Path) -> None:
    """Without torch: as far as the first import of it."""
    code, result, folder = run(tmp_path, SUITE)
    assert (code, result) == (1, {})
    assert not (folder / WORK).exists()
    status = json.loads(next((folder / "metrics").glob("*_status.json")).read_text())
    assert (status["state"], status["step"], status["target_step"], status["unit"]) == ("failed", 0, 2, "samples")
    assert os.stat(folder / "metrics").st_mode & 0o077 == 0


def test_a_limit_takes_the_first_items_and_never_looks_at_the_rest(tmp_path: Path) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_bytes(SUITE + b"{broken\n")
    task = Task(suite=str(suite), uuid="x", limit=2, extract="last_number")
    assert read_suite(task) == [Item("1+1?", "2"), Item("1+2?", "it is 3")]


def test_an_answer_is_judged_by_what_is_taken_from_it() -> None:
    sample = judged(Item("1+2?", "it is 3"), "1 and 2 make 3.0", "last_number")
    assert (sample.extracted, sample.correct) == ("3", True)
    assert not judged(Item("1+2?", "3"), "1 and 2 make 3", "text").correct
