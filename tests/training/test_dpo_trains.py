"""DPO on verl's engine, for real: what it learns, and that no way of cutting a batch changes what a step does."""

import math
import os
import signal
from pathlib import Path

import pytest

from pipelines.recipes import builtin
from pipelines.recipes.spec import Json
from platform_runtime import checkpoints, probe
from tests.runtime.runs import until

from .test_broken_trainings_are_named import findings
from .trainings import Training, need_training_environment

pytestmark = pytest.mark.timeout(300)

SHORT: dict[str, Json] = {"trainer.total_training_steps": 8, "trainer.save_freq": 4, "optim.lr": 1e-4}
LORA: dict[str, Json] = {**SHORT, "model.lora_rank": 8, "model.lora_alpha": 16, "optim.lr": 5e-3}
LN2 = math.log(2)
TOLD = ("train/loss", "train/grad_norm", "train/lr", "train/rewards/chosen", "train/rewards/rejected")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_training_environment()
    return tmp_path_factory.mktemp("a data folder")


@pytest.fixture(scope="module")
def trained(root: Path) -> Training:
    return Training(root, builtin.TINY_DPO, SHORT).done()


def assert_prefers(training: Training) -> None:
    loss = training.series("train/loss")
    margins = training.series("train/rewards/margins")
    assert loss[0] == pytest.approx(LN2, abs=1e-5)
    assert loss[-1] < 0.3 * LN2
    assert (margins[0], training.series("train/rewards/accuracies")[0]) == (0.0, 0.0)
    assert margins[-1] > 1
    assert training.series("train/rewards/accuracies")[-1] == 1.0


def test_it_learns_to_prefer(trained: Training) -> None:
    assert_prefers(trained)


def test_the_doctor_has_nothing_to_say(trained: Training) -> None:
    assert findings(trained, "dpo") == []


def test_every_step_is_one_line_with_rewards(trained: Training) -> None:
    lines = trained.lines()
    assert [line["step"] for line in lines] == list(range(1, trained.target + 1))
    for line in lines:
        told = line["metrics"]
        assert {*TOLD, "train/logps/chosen", "train/logps/rejected", "train/global_tokens"} <= set(told)
        chosen, rejected = told["train/rewards/chosen"], told["train/rewards/rejected"]
        assert told["train/rewards/margins"] == pytest.approx(chosen - rejected, abs=1e-5)
        assert told["train/logps/chosen"] < 0
    assert not [line for line in lines if "anomaly" in line]


def test_status_and_checkpoint_say_that_the_target_was_reached(trained: Training) -> None:
    status = probe.probe_run(trained.folder.path)["status"]
    assert (status["state"], status["step"], status["target_step"]) == ("finished", 8, 8)
    assert (trained.exit.checkpoint.step, trained.exit.checkpoint.ok) == (8, True)
    assert not [name for name in os.listdir(trained.folder.path) if name.startswith(".rendezvous")]


def assert_the_same(left: Training, right: Training, *, first: int = 1) -> None:
    """Step by step from `first` on, gradients included."""
    for name in (*TOLD, "train/rewards/accuracies", "train/logps/rejected", "train/global_tokens"):
        assert left.series(name) == pytest.approx(right.series(name)[first - 1 :], rel=2e-3, abs=2e-4), name


def test_micro_batches_change_nothing(root: Path, trained: Training) -> None:
    params = {**SHORT, "data.micro_batch_size_per_gpu": 2}
    assert_the_same(Training(root, builtin.TINY_DPO, params).done(), trained)


def test_two_processes_do_what_one_does_also_with_batches_by_tokens(root: Path, trained: Training) -> None:
    # Micro batches then hold as many pairs as there is room for.
    params: dict[str, Json] = {**SHORT, "data.use_dynamic_bsz": True, "data.max_token_len_per_gpu": 512}
    two = Training(root, builtin.TINY_DPO, params, processes=2).done()
    assert_the_same(two, trained)
    assert {name for name in os.listdir(two.checkpoint(8)) if name.startswith("model")} == {
        "model_world_size_2_rank_0.pt",
        "model_world_size_2_rank_1.pt",
    }
    assert two.exit.checkpoint.ok


def test_it_goes_on_after_it_was_killed(root: Path, trained: Training) -> None:
    killed = Training(root, builtin.TINY_DPO, SHORT)
    until(lambda: checkpoints.survey(killed.folder.checkpoints).ok, 240)
    os.kill(killed.run.started().child_pid, signal.SIGKILL)
    assert (killed.exit.code, killed.exit.signal) == (None, signal.SIGKILL)
    assert (killed.exit.checkpoint.step, killed.exit.checkpoint.ok) == (4, True)
    again = Training(root, builtin.TINY_DPO, SHORT, resume_from=killed.checkpoint(4)).done()
    # The reference is the model it began with, not the one it goes on from.
    assert_the_same(again, trained, first=5)


def test_lora_is_held_to_the_model_without_it(root: Path) -> None:
    one = Training(root, builtin.TINY_DPO, LORA).done()
    assert_prefers(one)
    assert one.exit.checkpoint.ok


def test_rows_that_are_too_long_are_told_before_anything_is_trained(root: Path) -> None:
    params = {**SHORT, "data.max_length": 64, "data.truncation": "error"}
    refused = Training(root, builtin.TINY_DPO, params)
    assert refused.exit.code == 1
    assert "384 of 384 pairs are longer than data.max_length (64 tokens)" in refused.log
    assert not Path(refused.folder.metrics).exists()
