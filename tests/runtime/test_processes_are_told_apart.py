"""A process is its pid, its start time and its boot; a stranger with the same pid is never touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from platform_runtime import probe, processes, reaper
from platform_runtime.contract import Claim, ProcessInfo

from .runs import Run, until


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def claim_for(run: Run, identity: processes.Identity) -> None:
    claim = Claim("runner", identity.pid, identity.start_time, identity.boot_id, 0.0)
    Path(run.folder.claim).write_bytes(claim.to_bytes())
    process = ProcessInfo(
        identity.pid, identity.start_time, identity.boot_id, identity.pid, identity.start_time, run.token, 0.0
    )
    Path(run.folder.process).write_bytes(process.to_bytes())


@pytest.mark.parametrize("other", ["start_time", "boot_id"])
def test_a_reused_pid_is_neither_alive_nor_signalled(
    make_run: Callable[..., Run], stranger: "subprocess.Popen[bytes]", other: str
) -> None:
    run = make_run(["/bin/true"])
    seen = processes.look(stranger.pid)
    assert seen is not None
    me = processes.Identity(stranger.pid, seen.start_time, processes.boot_id())
    assert me.alive
    before = replace(me, start_time=me.start_time - 1) if other == "start_time" else replace(me, boot_id="another")
    claim_for(run, before)
    answer = probe.probe_run(run.folder.path)
    assert (answer["runner_alive"], answer["child_alive"], answer["leftovers"]) == (False, False, 0)
    assert reaper.stop(run.folder.path) == "not_running"
    assert reaper.kill(run.folder.path) == []
    assert stranger.poll() is None


def test_a_session_that_got_the_number_of_a_command_that_is_gone_is_left_alone(make_run: Callable[..., Run]) -> None:
    code = "import os, subprocess as s; print(os.getpid(), s.Popen(['/bin/sleep', '60'], stdout=-3, stderr=-3).pid)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, start_new_session=True)
    leader, member = map(int, done.stdout.split())
    seen = processes.look(member)
    assert seen is not None
    assert (seen.session, processes.look(leader)) == (leader, None)
    stranger = processes.Identity(member, seen.start_time, processes.boot_id())
    try:
        run = make_run(["/bin/true"])
        claim_for(run, processes.Identity(leader, seen.start_time - 1, processes.boot_id()))
        assert probe.probe_run(run.folder.path)["leftovers"] == 0
        assert reaper.kill(run.folder.path) == []
        assert stranger.alive
    finally:
        os.kill(member, signal.SIGKILL)


def test_a_process_with_brackets_and_spaces_in_its_name_is_read_right(tmp_path: Path) -> None:
    odd = tmp_path / ") Z 1 (x"
    odd.symlink_to(sys.executable)
    with subprocess.Popen([str(odd), "-c", "import time; time.sleep(60)"]) as process:
        until(lambda: b")" in Path(f"/proc/{process.pid}/comm").read_bytes())
        seen = processes.look(process.pid)
        process.kill()
    assert seen is not None
    assert seen.parent == os.getpid()


def test_a_zombie_counts_as_gone() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        until(lambda: processes.look(process.pid) is None)


def test_the_token_must_match_whole() -> None:
    environment = {"ANNEAL_LAUNCH_TOKEN": "abc-2"}
    with subprocess.Popen(["/bin/sleep", "60"], env=environment) as process:
        until(lambda: processes.carries(process.pid, "abc-2"))
        assert not processes.carries(process.pid, "abc")
        assert not processes.carries(process.pid, "bc-2")
        process.kill()


def test_who_has_the_token_does_not_end_itself() -> None:
    code = "from platform_runtime import processes; print(len(processes.belonging('abc-3')))"
    environment = {**os.environ, "ANNEAL_LAUNCH_TOKEN": "abc-3"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.strip() == b"0"
