"""verl's SFT trainer, for real: the built-in recipe on the built-in dataset, by the runner, from a bare copy."""

import hashlib
import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.recipes import builtin
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import DatasetRef, Place
from platform_runtime import checkpoints, probe
from platform_runtime.contract import ENV_LAUNCH_TOKEN, ExitInfo, RunFolder
from tests.runtime.runs import RUNNER, Run

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("ANNEAL_TRAINING_PYTHON") or str(CHECKOUT / ".training/venv/bin/python")


class Training:
    """A run of the recipe `tiny-sft`, waited for."""

    def __init__(self, root: Path, *, resume_from: str | None = None) -> None:
        runtime = root / "runtime" / "copy"
        if not runtime.exists():
            shutil.copytree(RUNNER.parent, runtime / "platform_runtime", ignore=shutil.ignore_patterns("__pycache__"))
        content = builtin.ARITHMETIC.content()
        data = root / "arithmetic.jsonl"
        data.write_bytes(content)
        dataset = DatasetRef(str(data), len(content.splitlines()), "sft", hashlib.sha256(content).hexdigest())
        run = Run(root, ["/bin/true"])
        self.folder: RunFolder = run.folder
        place = Place(
            python=PYTHON,
            runtime_path=str(runtime),
            models_folder=str(root / "models"),
            attempt_folder=run.folder.path,
            checkpoint_folder=run.folder.checkpoints,
            uuid=run.folder.uuid,
            resume_from=resume_from,
        )
        compiled = compile_recipe(builtin.TINY_SFT.spec, dataset, place)
        assert compiled.target_step is not None
        self.target = compiled.target_step
        Path(run.folder.config).write_text(compiled.config_yaml)
        run.command = replace(
            run.command,
            argv=list(compiled.argv),
            env={**compiled.env, ENV_LAUNCH_TOKEN: run.token},
            target_step=compiled.target_step,
            checkpoint_required=compiled.checkpoint_required,
        )
        Path(run.folder.command).write_bytes(run.command.to_bytes())
        assert run.start(runner=runtime / "platform_runtime" / "runner.py") == (0, "")
        self.exit: ExitInfo = run.ended(240)
        self.log = run.log

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self.folder.metrics).read_text().splitlines()]

    def series(self, name: str) -> list[float]:
        return [line["metrics"][name] for line in self.lines() if name in line["metrics"]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not Path(PYTHON).exists() and not os.environ.get("CI"):
        pytest.skip("the training environment is not set up: environments/setup_local_env.sh training")
    return tmp_path_factory.mktemp("a data folder")


@pytest.fixture(scope="module")
def trained(root: Path) -> Training:
    training = Training(root)
    assert training.exit.code == 0, training.log[-4000:]
    return training


@pytest.mark.timeout(300)
def test_it_learns(trained: Training) -> None:
    loss = trained.series("train/loss")
    assert len(loss) == trained.target >= 12
    assert all(math.isfinite(value) for value in loss)
    assert sum(loss[-4:]) / 4 < 0.5 * sum(loss[:4]) / 4


def test_every_step_is_one_line_in_order(trained: Training) -> None:
    lines = trained.lines()
    assert [line["step"] for line in lines] == list(range(1, trained.target + 1))
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert trained.exit.started_at < times[0] <= times[-1] < trained.exit.finished_at
    assert not [line for line in lines if "anomaly" in line]
    assert {"train/loss", "train/grad_norm", "train/lr"} <= set(lines[0]["metrics"])


def test_it_ends_soon(trained: Training) -> None:
    # A dozen seconds on two free cores; the limit leaves room for whatever else a test machine does.
    assert 0 < trained.exit.elapsed_s < 150


def test_status_and_checkpoint_say_that_the_target_was_reached(trained: Training) -> None:
    seen = probe.probe_run(trained.folder.path)
    assert (seen["status"]["state"], seen["status"]["step"]) == ("finished", trained.target)
    assert seen["status"]["target_step"] == trained.target
    assert (trained.exit.checkpoint.step, trained.exit.checkpoint.ok) == (trained.target, True)


def test_nothing_is_left_behind(trained: Training) -> None:
    names = {name for name in os.listdir(trained.folder.path) if name.startswith(".rendezvous")}
    assert names == set()


@pytest.mark.timeout(300)
def test_it_goes_on_from_a_checkpoint(root: Path, trained: Training) -> None:
    earlier = sorted(checkpoints.steps(trained.folder.checkpoints))[0]
    assert earlier < trained.target
    again = Training(root, resume_from=f"{trained.folder.checkpoints}/global_step_{earlier}")
    assert again.exit.code == 0, again.log[-4000:]
    assert [line["step"] for line in again.lines()] == list(range(earlier + 1, trained.target + 1))
    # The same weights, optimizer and data order: the same losses as without the interruption.
    assert again.series("train/loss") == pytest.approx(trained.series("train/loss")[earlier:], rel=1e-3)
    assert again.exit.checkpoint.ok


def test_a_real_checkpoint_that_is_cut_short_is_refused(trained: Training, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(trained.folder.checkpoints, copy)
    newest = copy / f"global_step_{trained.target}"
    assert checkpoints.survey(str(copy)).ok
    shard = next(newest.glob("model_world_size_1_rank_0.pt"))
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 1000)
    found = checkpoints.survey(str(copy))
    assert not found.ok
    assert found.step is not None
    assert found.step < trained.target
