"""verl's SFT trainer, for real: the built-in recipe on the built-in dataset, by the runner, from a bare copy."""

import math
import os
import shutil
from pathlib import Path

import pytest

from pipelines.recipes import builtin
from platform_runtime import checkpoints, probe

from .trainings import Training, need_training_environment


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_training_environment()
    return tmp_path_factory.mktemp("a data folder")


@pytest.fixture(scope="module")
def trained(root: Path) -> Training:
    return Training(root, builtin.TINY_SFT).done()


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
    again = Training(root, builtin.TINY_SFT, resume_from=trained.checkpoint(earlier)).done()
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
