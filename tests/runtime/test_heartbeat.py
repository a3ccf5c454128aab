"""A run tells by its host's steady clock how long it has run, and for how long somebody has kept it frozen."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_runtime import heartbeat, probe, processes

from .runs import Run, until

MakeRun = Callable[..., Run]
SLEEP = "import time; print('up'); time.sleep(60)"


def freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    until(lambda: (seen := processes.look(pid)) is not None and seen.stopped)


def frozen_s(run: Run) -> float:
    return float(probe.probe_run(run.folder.path)["frozen_s"])


def test_a_living_run_tells_its_age_and_is_not_frozen(run_python: MakeRun) -> None:
    began = time.monotonic()
    run = run_python(SLEEP)
    run.says("up")
    time.sleep(0.5)
    seen = probe.probe_run(run.folder.path)
    assert 0.4 < seen["elapsed_s"] <= time.monotonic() - began + 0.01
    assert seen["frozen_s"] == 0


@pytest.mark.parametrize("who", ["runner_pid", "child_pid"])
def test_frozen_time_counts_while_it_lasts(run_python: MakeRun, who: str) -> None:
    run = run_python(SLEEP)
    run.says("up")
    pid = getattr(run.started(), who)
    freeze(pid)
    time.sleep(1)
    first = frozen_s(run)
    time.sleep(0.5)
    assert 1 <= first <= frozen_s(run) - 0.4
    os.kill(pid, signal.SIGCONT)
    until(lambda: frozen_s(run) == 0)


def test_a_frozen_command_is_no_sign_of_life(run_python: MakeRun) -> None:
    run = run_python(SLEEP)
    run.says("up")
    freeze(run.started().child_pid)
    last = heartbeat.read(run.folder.heartbeat)
    time.sleep(heartbeat.PERIOD_S + 1.5)
    assert heartbeat.read(run.folder.heartbeat) == last
    assert frozen_s(run) > heartbeat.PERIOD_S


def test_a_runner_that_never_beat_counts_from_its_start(run_python: MakeRun) -> None:
    run = run_python(SLEEP)
    run.says("up")
    time.sleep(0.5)
    freeze(run.started().runner_pid)
    os.unlink(run.folder.heartbeat)
    assert 0.4 < frozen_s(run) < 30


@pytest.mark.parametrize("content", ["", "x", "1 2 3", "nan nan", "-1 5", "9 1", "1 1e300", "\0" * 40, "é é"])
def test_a_damaged_heartbeat_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "heartbeat").write_text(content)
    assert heartbeat.read(str(tmp_path / "heartbeat")) is None


def test_a_pipe_or_a_folder_in_its_place_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert heartbeat.read(str(tmp_path / "pipe")) is None
    assert heartbeat.read(str(tmp_path / "folder")) is None
