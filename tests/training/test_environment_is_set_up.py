"""setup_local_env.sh training: from nothing, again, after a kill at any point, and when it cannot be done.

The real script, pip and uv against a real index, of stand-ins for the large packages.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.runs import until

from .wheels import World, make_wheel, pin, version_json

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def index(world: World) -> Iterator[str]:
    with world.served() as address:
        yield address


def spawn(world: World, index: str, *options: str) -> "subprocess.Popen[str]":
    script = world.checkout / "environments" / "setup_local_env.sh"
    (world.checkout / "environments/version.json").write_bytes(version_json(world))
    return subprocess.Popen(
        [str(script), "training", *options],
        env=world.environment(index),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def set_up(world: World, index: str, *options: str) -> tuple[int, str]:
    with spawn(world, index, *options) as process:
        said, _ = process.communicate(timeout=120)
    return process.returncode, said


def state(world: World) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((world.training / "state.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def installed(world: World) -> set[str]:
    folder = next((world.training / "venv/lib").glob("python3*/site-packages"))
    return {path.name.partition("-")[0] for path in folder.glob("*.dist-info")}


def test_from_nothing_and_again(world: World, index: str) -> None:
    code, said = set_up(world, index)
    assert code == 0, said
    first = state(world)
    assert (first["status"], first["percent"]) == ("ready", 100)
    assert set(first) == {"status", "percent", "message", "python", "updated_at", "pid", "log", "fingerprint"}
    assert first["python"] == str(world.training / "venv/bin/python")
    assert Path(first["log"]).read_text()
    done = subprocess.run(
        [first["python"], "-c", "import torch; print(torch.version.cuda)"], capture_output=True, check=True
    )
    assert done.stdout == b"None\n"
    assert "cudalibrary" not in installed(world)
    percents = [int(line[:3]) for line in said.splitlines() if line[3:5] == " %"]
    assert percents == sorted(percents)

    began = time.monotonic()
    code, said = set_up(world, index)
    assert code == 0, said
    assert time.monotonic() - began < 5
    assert said.splitlines() == ["100 % The training environment is ready."]
    assert set_up(world, index, "--check")[0] == 0


@pytest.mark.parametrize("stage", ["virtual environment", "torch", "verl", "Trying"])
def test_a_kill_in_the_middle_is_made_good_by_running_it_again(world: World, index: str, stage: str) -> None:
    with spawn(world, index) as process:
        until(lambda: stage in str(state(world).get("message")) or process.poll() is not None, 60)
        process.send_signal(signal.SIGKILL)
    assert state(world)["status"] == "installing"
    code, said = set_up(world, index)
    assert code == 0, said
    assert state(world)["status"] == "ready"


def test_an_index_with_the_cuda_build_alone_brings_its_libraries_too(tmp_path: Path) -> None:
    world = World(tmp_path, small_torch=False)
    with world.served() as index:
        code, said = set_up(world, index, "--cpu")
        assert code == 0, said
        assert "cudalibrary" in installed(world)
        assert json.loads((world.training / "installed.json").read_text())["build"] == "13.0"
        assert set_up(world, index, "--check")[0] == 0


def test_for_gpus_it_takes_the_cuda_build(world: World, index: str) -> None:
    code, said = set_up(world, index, "--cuda")
    assert code == 0, said
    assert {"torch", "cudalibrary"} <= installed(world)


def test_a_changed_lock_is_installed(world: World, index: str) -> None:
    assert set_up(world, index)[0] == 0
    before = state(world)["fingerprint"]
    extra = make_wheel(world.simple / "extra", "extra", "1.0", {"extra.py": ""})
    with (world.checkout / "requirements/training-cpu.txt").open("a") as lock:
        lock.write(pin(extra))
    assert set_up(world, index, "--check")[0] == 1
    code, said = set_up(world, index)
    assert code == 0, said
    assert "extra" in installed(world)
    assert state(world)["fingerprint"] != before


def test_two_at_once_do_it_once(world: World, index: str) -> None:
    with spawn(world, index) as one, spawn(world, index) as two:
        said = [process.communicate(timeout=120)[0] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), said
    assert [text.count("Making a virtual environment") for text in said] in ([1, 0], [0, 1])


def failure(world: World, said: str) -> str:
    found = state(world)
    assert found["status"] == "failed"
    assert found["message"] in said
    assert found["log"] in said
    return str(found["message"])


def test_an_index_that_cannot_be_reached_is_named(world: World, index: str) -> None:
    code, said = set_up(world, "http://127.0.0.1:9/simple/")
    assert code == 1
    assert failure(world, said) == "Installing the installer: the package index cannot be reached"
    code, said = set_up(world, index)
    assert code == 0, said


def test_a_package_that_is_not_the_recorded_one_is_refused(world: World, index: str) -> None:
    (wheel,) = (world.simple / "verl").glob("*.whl")
    make_wheel(wheel.parent, "verl", "0.9.1", {"verl/__init__.py": "# something else\n"})
    code, said = set_up(world, index)
    assert code == 1
    assert failure(world, said).startswith("Installing verl and what it needs: ")
    assert "recorded" in failure(world, said)


def test_an_environment_that_does_not_import_is_not_ready(world: World, index: str) -> None:
    (wheel,) = (world.simple / "verl").glob("*.whl")
    before = pin(wheel)
    broken = make_wheel(wheel.parent, "verl", "0.9.1", {"verl/__init__.py": "import nothing_of_that_name\n"})
    for kind in ("cpu", "cuda"):
        lock = world.checkout / f"requirements/training-{kind}.txt"
        lock.write_text(lock.read_text().replace(before, pin(broken)))
    code, said = set_up(world, index)
    assert code == 1
    assert "No module named 'nothing_of_that_name'" in failure(world, said)


def test_an_interruption_is_told(world: World, index: str) -> None:
    with spawn(world, index) as process:
        until(lambda: state(world).get("status") == "installing")
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "interrupted by SIGTERM" in failure(world, said)


def test_what_a_killed_set_up_ran_does_not_run_on(world: World, index: str) -> None:
    with spawn(world, index) as process:
        until(lambda: state(world).get("status") == "installing")
        process.kill()
    until(lambda: not _running_in(world.training / "venv"))


def _running_in(folder: Path) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                argv = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in argv:
                found.append(name)
    return found


def test_wrong_words_are_refused(world: World) -> None:
    script = world.checkout / "environments" / "setup_local_env.sh"
    for words in ([], ["nothing"], ["training", "--cpu", "--cuda"], ["training", "--fast"]):
        done = subprocess.run([str(script), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "usage" in done.stderr
