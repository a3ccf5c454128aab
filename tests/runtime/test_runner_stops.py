"""Ending a run: politely, by force, and with everything that it left behind."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_runtime import probe, processes, reaper

from .runs import Run, until

MakeRun = Callable[..., Run]

IGNORES_TERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up")
time.sleep(60)
"""
ENDS_ON_TERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("up")
time.sleep(60)
"""
# As Ray does it: out of the group, out of the family, and here even out of the launch token.
LEAVES_DAEMONS = """
import os, subprocess, sys, time
for argv in (["/bin/sleep", "{first}"], ["/usr/bin/env", "-i", "/bin/sleep", "{second}"]):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(argv[0], argv)
        os._exit(0)
    os.wait()
print("up")
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else {seconds})
"""


# Other tests, in other processes, look for sleepers of their own at the same time.
DAEMONS = (f"61.{os.getpid()}", f"62.{os.getpid()}")


def leaves_daemons(seconds: float) -> str:
    return LEAVES_DAEMONS.format(seconds=seconds, first=DAEMONS[0], second=DAEMONS[1])


def sleepers(*seconds: str) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and processes.look(int(name)):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    argv = file.read().split(b"\0")
            except OSError:
                continue
            if argv[:1] == [b"/bin/sleep"] and argv[1].decode() in seconds:
                found.append(int(name))
    return found


def test_a_command_that_ends_on_term_gives_its_own_exit_code(run_python: MakeRun) -> None:
    run = run_python(ENDS_ON_TERM)
    run.says("up")
    assert reaper.stop(run.folder.path) == "signalled"
    ended = run.ended()
    assert (ended.code, ended.signal) == (5, None)


def test_a_command_that_ignores_term_is_killed_after_the_grace(run_python: MakeRun) -> None:
    run = run_python(IGNORES_TERM, stop_grace_s=0.5)
    run.says("up")
    began = time.monotonic()
    assert reaper.stop(run.folder.path) == "signalled"
    ended = run.ended()
    assert 0.5 <= time.monotonic() - began < 10
    assert (ended.code, ended.signal) == (None, 9)
    assert not probe.probe_run(run.folder.path)["child_alive"]
    until(lambda: reaper.stop(run.folder.path) == "not_running")


@pytest.mark.parametrize("how", ["stopped", "ended by itself"])
def test_daemons_that_left_the_group_do_not_survive(run_python: MakeRun, how: str) -> None:
    run = run_python(leaves_daemons(0.3 if how == "ended by itself" else 60))
    run.says("up")
    until(lambda: len(sleepers(*DAEMONS)) == 2)
    if how == "stopped":
        reaper.stop(run.folder.path)
    ended = run.ended()
    assert ended.signal == (15 if how == "stopped" else None)
    assert sleepers(*DAEMONS) == []
    assert "ended 2 process(es) that the command left running" in run.log


def test_a_second_stop_does_no_harm(run_python: MakeRun) -> None:
    run = run_python(IGNORES_TERM, stop_grace_s=0.5)
    run.says("up")
    for _ in range(5):
        reaper.stop(run.folder.path)
    assert run.ended().signal == 9


def test_a_stop_that_comes_at_once_is_not_lost(make_run: MakeRun) -> None:
    run = make_run(["/bin/sleep", "60"])
    call = run.spawn()
    until(lambda: reaper.stop(run.folder.path) == "signalled")
    call.communicate(timeout=20)
    assert run.ended().signal == 15


def test_killing_ends_runner_command_and_daemons(run_python: MakeRun) -> None:
    run = run_python(leaves_daemons(60))
    run.says("up")
    until(lambda: len(sleepers(*DAEMONS)) == 2)
    assert reaper.kill(run.folder.path) == []
    assert sleepers(*DAEMONS) == []
    seen = probe.probe_run(run.folder.path)
    assert (seen["runner_alive"], seen["child_alive"], seen["leftovers"], seen["exit"]) == (False, False, 0, None)


def test_what_a_dead_runner_left_is_counted_and_killed(run_python: MakeRun) -> None:
    run = run_python("import subprocess; print('up'); subprocess.run(['/bin/sleep', '63'])")
    run.says("up")
    process = run.started()
    until(lambda: sleepers("63"))
    os.kill(process.runner_pid, signal.SIGKILL)
    until(lambda: not probe.probe_run(run.folder.path)["runner_alive"])
    seen = probe.probe_run(run.folder.path)
    assert (seen["child_alive"], seen["leftovers"], seen["exit"]) == (True, 2, None)
    assert reaper.stop(run.folder.path) == "not_running"
    assert reaper.kill(run.folder.path) == []
    assert probe.probe_run(run.folder.path)["leftovers"] == 0


def test_a_runner_killed_between_spawn_and_process_json_is_found_by_its_token(run_python: MakeRun) -> None:
    run = run_python("import time; print('up'); time.sleep(60)")
    run.says("up")
    process = run.started()
    os.kill(process.runner_pid, signal.SIGKILL)
    os.unlink(run.folder.process)
    until(lambda: not probe.probe_run(run.folder.path)["runner_alive"])
    assert probe.probe_run(run.folder.path)["leftovers"] == 1
    assert reaper.kill(run.folder.path) == []
    assert processes.look(process.child_pid) is None


def test_who_lost_token_and_parent_is_found_by_the_session_of_the_command(run_python: MakeRun) -> None:
    """As Ray's agents do when raylet dies before them: retitled, so that their environment is overwritten."""
    run = run_python(
        "import subprocess, time\n"
        "for argv in (['/bin/sleep', '64'], ['/usr/bin/env', '-i', '/bin/sleep', '65']): subprocess.Popen(argv)\n"
        "print('up'); time.sleep(60)"
    )
    run.says("up")
    until(lambda: len(sleepers("64", "65")) == 2)
    process = run.started()
    for pid in (process.runner_pid, process.child_pid):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not processes.look(process.runner_pid) and not processes.look(process.child_pid))
    assert probe.probe_run(run.folder.path)["leftovers"] == 2
    assert reaper.kill(run.folder.path) == []
    assert sleepers("64", "65") == []


def test_a_frozen_command_is_ended_all_the_same(run_python: MakeRun) -> None:
    run = run_python("import time; print('up'); time.sleep(60)", stop_grace_s=0.3)
    run.says("up")
    child = run.started().child_pid
    os.kill(child, signal.SIGSTOP)
    until(lambda: b") T " in Path(f"/proc/{child}/stat").read_bytes())
    reaper.stop(run.folder.path)
    assert run.ended().signal == 9
