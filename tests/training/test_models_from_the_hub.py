"""A model of the hub is found among those that were brought to the host, and nowhere else."""

import os
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("ANNEAL_TRAINING_PYTHON") or str(CHECKOUT / ".training/venv/bin/python")
ASK = "import sys; from platform_runtime.models import local_model; print(local_model(sys.argv[1], sys.argv[2]))"


def asked(name: str, models: Path) -> "subprocess.CompletedProcess[str]":
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(models),
        "PYTHONPATH": str(CHECKOUT / "environments/runtime"),
        "ANNEAL_MODELS_DIR": str(models),
    }
    argv = [PYTHON, "-P", "-c", ASK, name, str(models / "run")]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_snapshot_that_the_hub_s_own_tools_left_is_found(tmp_path: Path) -> None:
    kept = tmp_path / "hub" / "models--organisation--model"
    snapshot = kept / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a" * 40)

    assert asked("organisation/model", tmp_path).stdout.strip() == str(snapshot)


def test_one_that_is_not_there_is_told_with_the_command_that_brings_it(tmp_path: Path) -> None:
    done = asked("organisation/other", tmp_path)

    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "organisation/other is not on this host" in last
    assert f"hf download organisation/other --cache-dir '{tmp_path}/hub'" in last
