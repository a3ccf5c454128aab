"""One look tells what an attempt's folder and processes say."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_runtime import probe
from platform_runtime.contract import StatusFile

from .runs import RUNNER, Run

KEYS = {
    "exists", "claim", "process", "exit", "runner_alive", "child_alive", "leftovers", "elapsed_s", "frozen_s",
    "disk_free", "metrics_size", "metrics_mtime", "log_size", "status", "now",
}  # fmt: skip


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    seen = probe.probe_run(str(tmp_path / "runs/x/attempt-1"))
    assert set(seen) == KEYS
    assert (seen["exists"], seen["claim"], seen["metrics_size"], seen["leftovers"]) == (False, None, None, 0)


def test_a_run_that_ended(make_run: Callable[..., Run]) -> None:
    run = make_run(["/bin/sh", "-c", "echo hello; exit 4"])
    run.start()
    run.ended()
    Path(run.folder.metrics).write_text("{}\n")
    status = StatusFile("running", 3, 12, "step", 1.0, 2.0, True, "nan_inf", "train/loss is nan")
    Path(run.folder.status).write_bytes(status.to_bytes())
    seen = probe.probe_run(run.folder.path)
    assert seen["exit"]["code"] == 4
    assert seen["exit"]["checkpoint"]["ok"] is False
    assert seen["log_size"] == 6
    assert seen["metrics_size"] == 3
    assert seen["status"] == status.to_json()
    assert seen["leftovers"] == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"owner": "nobody"}', "\0", "null"])
def test_broken_files_count_as_missing(make_run: Callable[..., Run], content: str) -> None:
    run = make_run(["/bin/true"])
    for path in (run.folder.claim, run.folder.process, run.folder.exit):
        Path(path).write_text(content)
    seen = probe.probe_run(run.folder.path)
    assert (seen["claim"], seen["process"], seen["exit"]) == (None, None, None)


def test_as_a_program_it_answers_for_many_folders(make_run: Callable[..., Run]) -> None:
    runs = [make_run(["/bin/true"]) for _ in range(3)]
    done = subprocess.run(
        [sys.executable, "-S", "-P", str(RUNNER.with_name("probe.py"))],
        input=json.dumps([run.folder.path for run in runs]).encode(),
        capture_output=True,
        check=True,
    )
    answers = json.loads(done.stdout)
    assert [set(answer) for answer in answers] == [KEYS] * 3
    assert all(answer["exists"] for answer in answers)


def test_the_reaper_as_a_program(make_run: Callable[..., Run]) -> None:
    run = make_run(["/bin/sleep", "60"])
    run.start()
    reaper = [sys.executable, "-S", "-P", str(RUNNER.with_name("reaper.py"))]
    done = subprocess.run([*reaper, "kill", run.folder.path], capture_output=True, check=True)
    assert json.loads(done.stdout) == []
    done = subprocess.run([*reaper, "stop", run.folder.path], capture_output=True, check=True)
    assert json.loads(done.stdout) == "not_running"
    assert subprocess.run([*reaper, "stop"], capture_output=True, check=False).returncode == 2
