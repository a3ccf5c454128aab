"""From the claim to exit.json, with commands that end by themselves."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_runtime import probe
from platform_runtime.contract import ENV_LAUNCH_TOKEN

from .runs import RUNNER, Run, until

MakeRun = Callable[..., Run]


def test_how_it_ended_is_written_down_with_true_times(make_run: MakeRun) -> None:
    before = time.time()
    run = make_run(["/bin/sh", "-c", "echo out; echo err >&2; sleep 0.3; exit 3"])
    assert run.start() == (0, "")
    ended = run.ended()
    assert (ended.code, ended.signal) == (3, None)
    assert before <= ended.started_at <= ended.finished_at <= time.time()
    assert 0.3 <= ended.elapsed_s < 5
    assert abs(ended.finished_at - ended.started_at - ended.elapsed_s) < 0.5
    assert set(run.log.split()) == {"out", "err"}


def test_the_call_returns_while_the_command_runs_on(make_run: MakeRun) -> None:
    run = make_run(["/bin/sleep", "30"])
    began = time.monotonic()
    assert run.start() == (0, "")
    assert time.monotonic() - began < 5
    seen = probe.probe_run(run.folder.path)
    assert seen["runner_alive"]
    assert run.claim()["owner"] == "runner"


def test_the_command_gets_exactly_its_environment_and_a_session_of_its_own(make_run: MakeRun) -> None:
    run = make_run(["/bin/sh", "-c", "/usr/bin/env; echo sid $(ps -o sid= -p $$); sleep 0.2"])
    run.start()
    process = run.started()
    run.ended()
    lines = set(run.log.splitlines())
    assert {f"{ENV_LAUNCH_TOKEN}={run.token}", "PATH=/usr/bin:/bin"} <= lines
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert names <= {"PATH", ENV_LAUNCH_TOKEN, "PWD", "SHLVL", "_", "OLDPWD"}
    if shutil.which("ps"):
        assert f"sid {process.child_pid}" in " ".join(run.log.split())


def test_it_runs_from_a_bare_copy_of_the_package(make_run: MakeRun, tmp_path: Path) -> None:
    copy = tmp_path / "a copy" / "platform_runtime"
    shutil.copytree(RUNNER.parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    run = make_run(["/bin/true"])
    assert run.start(runner=copy / "runner.py") == (0, "")
    assert run.ended().code == 0


def test_a_command_killed_for_memory_shows_signal_9(run_python: MakeRun) -> None:
    run = run_python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    ended = run.ended()
    assert (ended.code, ended.signal) == (None, int(signal.SIGKILL))


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"argv": ["/no/such/python", "-c", "1"]}, 127, "/no/such/python: No such file or directory"),
        ({"argv": ["/etc/passwd"]}, 126, "Permission denied"),
        ({"argv": ["/bin/true"], "cwd": "/no/such/folder"}, 127, "/no/such/folder: No such file or directory"),
        ({"argv": ["/bin/true", "a\0b"]}, 126, "null byte"),
    ],
)
def test_what_cannot_be_started_says_so(make_run: MakeRun, change: dict[str, object], code: int, said: str) -> None:
    run = make_run(**{"argv": ["/bin/true"], **change})
    assert run.start() == (0, "")
    ended = run.ended()
    assert (ended.code, ended.signal) == (code, None)
    assert ended.elapsed_s > 0
    assert said in run.log
    assert run.log.startswith("[runner] cannot start: ")


def test_without_a_command_there_is_no_claim(make_run: MakeRun) -> None:
    run = make_run(["/bin/true"])
    Path(run.folder.command).write_text("{}")
    code, said = run.start()
    assert code == 2
    assert "argv" in said
    assert run.files() == {"command.json"}


def ignore_deaths() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_a_child_that_its_starter_ignores_is_noticed(make_run: MakeRun) -> None:
    # Some launchers ignore SIGCHLD, and children inherit that: the kernel then reaps in our place.
    run = make_run(["/bin/sh", "-c", "exit 7"])
    run.start(preexec_fn=ignore_deaths)
    assert run.ended().code == 7


def test_a_disk_that_takes_nothing_gives_no_claim(make_run: MakeRun) -> None:
    run = make_run(["/bin/true"])
    code, said = run.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert code == 75
    assert "File too large" in said
    assert run.files() == {"command.json"}


def test_an_output_log_that_cannot_be_opened_still_ends_in_exit_json(make_run: MakeRun) -> None:
    run = make_run(["/bin/true"])
    os.mkdir(run.folder.output_log)
    assert run.start() == (0, "")
    assert run.ended().code == 126


def test_nothing_temporary_is_left(make_run: MakeRun) -> None:
    run = make_run(["/bin/true"])
    run.start()
    run.ended()
    wanted = {"claim", "command.json", "process.json", "output.log", "exit.json", "metrics", "heartbeat"}
    until(lambda: run.files() == wanted)
