"""bin/up: sets up, starts, stops, says what runs; beside others, after crashes, and as often as one likes."""

import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_site.environ import CHECKOUT
from platform_site.up import state
from platform_site.up.processes import is_same, start_time
from tests.harness import Platform, free_port, wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One running platform; each test leaves it running."""
    with Platform(tmp_path_factory.mktemp("up") / "data folder") as platform:
        yield platform


def _child(platform: Platform, name: str) -> state.Child:
    return platform.state.children[name]


def test_it_is_ready_and_says_where_and_how_to_sign_in(platform: Platform) -> None:
    again = platform.up()
    assert again.returncode == 0
    assert f"{platform.url}/" in again.stdout
    assert str(platform.data / "admin_password") in again.stdout
    assert platform.password not in again.stdout
    assert platform.ready()


def test_nothing_in_the_data_folder_is_for_others(platform: Platform) -> None:
    assert stat.S_IMODE(platform.data.stat().st_mode) == 0o700
    for name in ("admin_password", "secret_key", "fernet_keys", "valkey.sock"):
        assert stat.S_IMODE((platform.data / name).stat().st_mode) == 0o600, name


def test_the_password_is_in_no_log_and_no_command_line(platform: Platform) -> None:
    for log in (platform.data / "logs").iterdir():
        assert platform.password not in log.read_text(errors="replace")
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert platform.password.encode() not in command.read_bytes()
        except OSError:
            continue


def test_status_lists_the_processes_and_exits_0(platform: Platform) -> None:
    told = platform.run("status")
    assert told.returncode == 0, told.stdout + told.stderr
    for name in ("valkey", "web", "worker", "Ready"):
        assert name in told.stdout


def test_only_the_pages_listen(platform: Platform) -> None:
    inodes = {
        os.readlink(link).removeprefix("socket:[").removesuffix("]")
        for child in platform.state.children.values()
        for link in Path(f"/proc/{child.pid}/fd").iterdir()
        if os.readlink(link).startswith("socket:")
    }
    listening = {
        (fields[1].split(":")[0], int(fields[1].split(":")[1], 16))
        for table in ("tcp", "tcp6")
        for fields in (line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and fields[9] in inodes
    }
    assert listening == {("0100007F", platform.port)}


@pytest.mark.parametrize("name", ["worker", "valkey", "web"])
def test_a_killed_process_is_started_again(platform: Platform, name: str) -> None:
    before = _child(platform, name)
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: _child(platform, name).pid != before.pid, 10)
    wait_until(platform.ready, 20)
    assert _child(platform, name).restarts > before.restarts


def test_a_connection_waits_while_web_starts_again(platform: Platform) -> None:
    before = _child(platform, "web")
    os.kill(before.pid, signal.SIGKILL)
    assert platform.request("GET", "/healthz")[0] in (0, 200)  # 0: the one that web had accepted
    assert platform.request("GET", "/healthz") == (200, {"status": "ok"})


def test_everything_killed_comes_back_with_bin_up(platform: Platform) -> None:
    before = platform.state
    platform.kill_everything()
    assert platform.run("status").returncode == 3
    assert platform.up().returncode == 0
    assert platform.ready()
    now = platform.state
    assert now.pid != before.pid
    assert not any(child.alive for child in before.children.values())


def test_a_killed_supervisor_takes_its_children_along(platform: Platform) -> None:
    before = platform.state
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: not any(child.alive for child in before.children.values()), 20)
    assert platform.up().returncode == 0


def test_what_a_killed_supervisor_left_behind_is_ended_by_the_next(platform: Platform) -> None:
    before = platform.state
    frozen = before.children["worker"]
    os.kill(frozen.pid, signal.SIGSTOP)  # the kernel's TERM cannot reach it
    os.kill(before.pid, signal.SIGKILL)
    assert platform.up().returncode == 0
    assert not frozen.alive
    assert platform.ready()


def test_stop_ends_every_process_and_may_be_repeated(platform: Platform) -> None:
    before = platform.state
    stopped = platform.run("stop")
    assert (stopped.returncode, stopped.stdout.strip()) == (0, "Stopped")
    assert not any(child.alive for child in before.children.values())
    assert not is_same(before.pid, before.started)
    assert platform.run("status").returncode == 3
    assert platform.run("stop").returncode == 0
    assert platform.request("GET", "/healthz")[0] == 0
    assert platform.up().returncode == 0


def test_what_is_not_the_platforms_is_left_alone(platform: Platform) -> None:
    """A stale account that names a stranger's pid: nothing happens to the stranger."""
    platform.run("stop")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        stale = state.State(stranger.pid, "1", "127.0.0.1", platform.port, 0.0)
        stale.children["worker"] = state.Child(stranger.pid, "1", 0.0)
        state.write(platform.data, stale)
        assert platform.run("stop").returncode == 0
        state.write(platform.data, stale)
        assert platform.up().returncode == 0
        assert stranger.poll() is None
        stranger.kill()


def test_two_at_once_on_one_folder_are_one_platform(platform: Platform) -> None:
    platform.run("stop")
    done: list[subprocess.CompletedProcess[str]] = []
    both = [threading.Thread(target=lambda: done.append(platform.up())) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(120)
    # The slower finds the port taken when it looks before the faster holds the folder, or joins it.
    assert sorted(each.returncode for each in done)[0] == 0, [each.stderr for each in done]
    assert platform.ready()
    supervisors = [
        command
        for command in Path("/proc").glob("[0-9]*/cmdline")
        if b"platform_site.supervisor" in _read(command)
        and f"ANNEAL_DATA_DIR={platform.data}".encode() in _read(command.parent / "environ")
    ]
    assert len(supervisors) == 1


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_another_port_for_a_running_platform_is_refused(platform: Platform) -> None:
    other = platform.up("--port", str(free_port()))
    assert other.returncode == 1
    assert f"port {platform.port}" in other.stderr
    assert platform.ready()


def test_a_port_in_use_is_one_clear_error(platform: Platform, tmp_path: Path) -> None:
    taken = Platform(tmp_path / "other", port=platform.port)
    done = taken.up()
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"anneal: port {platform.port}")
    assert "\n" not in done.stderr.strip()
    assert not state.is_running(taken.data)


def test_two_platforms_run_side_by_side(platform: Platform, tmp_path: Path) -> None:
    # So deep that its socket does not fit into the data folder.
    with Platform(tmp_path / ("deep" * 25)) as other:
        assert platform.ready()
        assert other.ready()
        assert other.password != platform.password
        assert other.run("stop").returncode == 0
        assert platform.ready()


def test_a_relative_data_folder_is_relative_to_the_caller(tmp_path: Path) -> None:
    told = Platform(tmp_path / "x").run("status", "--data", "here", cwd=tmp_path)
    assert told.returncode == 3
    assert str(tmp_path / "here") in told.stdout


@pytest.mark.parametrize(("option", "says"), [("--port=abc", "ANNEAL_PORT is wrong"), ("--data=/etc/passwd", "folder")])
def test_a_wrong_option_is_one_line_and_code_2(tmp_path: Path, option: str, says: str) -> None:
    done = Platform(tmp_path / "data").up(option)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_in_the_foreground_it_stays_until_interrupted(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "data")
    with subprocess.Popen(
        [CHECKOUT / "bin" / "up", "--no-demo"], env=platform.env, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(platform.ready, 60)
            time.sleep(1)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
            assert said.rstrip().endswith("Stopped")
            assert process.returncode == 0
            assert not state.is_running(platform.data)
        finally:
            process.kill()
            platform.__exit__()


def test_the_first_admin_is_made_once(platform: Platform) -> None:
    before = platform.password
    done = platform.manage("prepare")
    assert done.returncode == 0, done.stderr
    assert before not in done.stdout
    assert platform.password == before


def test_start_times_tell_processes_apart() -> None:
    me = os.getpid()
    assert is_same(me, start_time(me))
    assert not is_same(me, "1")
    assert start_time(2**22 + 1) == ""
