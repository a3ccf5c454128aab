"""What the documentation shows of the callback outside the platform does what it says."""

import json
import os
import subprocess
from pathlib import Path

from pipelines.recipes import builtin
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import DatasetRef, Place

from .trainings import CHECKOUT, PYTHON, need_training_environment

ROWS = 64


def run(work: Path, *argv: str, **env: str) -> str:
    need_training_environment()
    done = subprocess.run(
        [PYTHON, *argv],
        cwd=work,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "PYTHONPATH": f"{CHECKOUT / 'examples'}:{CHECKOUT / 'environments/runtime'}",
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def rows(work: Path) -> Path:
    file = work / "rows.jsonl"
    file.write_bytes(b"".join(builtin.ARITHMETIC.content().splitlines(keepends=True)[:ROWS]))
    return file


def told(work: Path) -> tuple[list[int], list[float], str]:
    """Steps, losses, and how it ended."""
    lines = [json.loads(line) for line in (work / "metrics" / "my-run_metrics.jsonl").read_text().splitlines()]
    status = json.loads((work / "metrics" / "my-run_status.json").read_text())
    return [line["step"] for line in lines], [line["metrics"]["train/loss"] for line in lines], status["state"]


def test_verls_trainer_tells_a_callback_that_was_added(tmp_path: Path) -> None:
    data = DatasetRef(str(rows(tmp_path)), ROWS, "sft", "ab" * 32)
    place = Place(PYTHON, "", str(tmp_path / "models"), str(tmp_path), str(tmp_path / "checkpoints"), "a-run")
    config = compile_recipe(builtin.TINY_SFT.spec.merged({"trainer.total_epochs": 1}), data, place).config_yaml
    (tmp_path / "config.yaml").write_text(config)

    # The entry is what makes verl train on a CPU; the callback comes in by verl's own door.
    argv = ["-m", "platform_runtime.trainers.verl_sft", "--config", str(tmp_path / "config.yaml")]
    output = run(tmp_path, *argv, VERL_USE_EXTERNAL_MODULES="verl_callback", VERL_PLATFORM="cpu")

    steps, losses, state = told(tmp_path)
    assert (steps, state) == ([1, 2, 3, 4], "finished")
    assert f"lowest loss {min(losses):.4f} at step {losses.index(min(losses)) + 1}" in output


def test_trls_trainer_tells_its_steps(tmp_path: Path) -> None:
    run(tmp_path, str(CHECKOUT / "examples/trl_callback.py"), "builtin:tiny-llama", str(rows(tmp_path)))

    steps, losses, state = told(tmp_path)
    assert (steps, state) == ([1, 2, 3, 4], "finished")
    assert losses[-1] < losses[0]
