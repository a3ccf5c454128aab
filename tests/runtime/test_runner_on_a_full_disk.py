"""A disk that fills up in mid-run must not hide how the run ended. On a real file system that is really full."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
# A mount of our own in a name space of our own: no rights are needed, and nothing is left behind.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]

FILLS_UP = """
import json, os, subprocess, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/environments/runtime"]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", sys.argv[1]], check=True)
from tests.runtime.runs import Run, until
run = Run(Path(sys.argv[1]), ["/bin/sh", "-c", "cat /dev/zero > filler; echo lost; exit 5"])
assert run.start() == (0, "")
ended = run.ended()
full = not os.statvfs(sys.argv[1]).f_bavail
until(lambda: not [name for name in run.files() if name.startswith(".")])
print(json.dumps({"code": ended.code, "elapsed_s": ended.elapsed_s, "full": full, "files": sorted(run.files())}))
"""


@pytest.fixture
def may_mount() -> None:
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this kernel gives no name spaces to users")


@pytest.mark.usefixtures("may_mount")
def test_exit_json_is_written_on_a_full_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-P", "-c", FILLS_UP, str(tmp_path), str(CHECKOUT)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert answer["full"]
    assert answer["code"] == 5
    assert "exit.json" in answer["files"]
