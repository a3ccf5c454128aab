"""TRL's DPO trainer, for real, as a run of the platform: its metrics, its checkpoints, and going on from them."""

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pipelines.recipes import builtin
from pipelines.recipes.spec import Json
from pipelines.recipes.trainers.trl_dpo import keys
from platform_runtime import checkpoints, probe
from tests.runtime.runs import until

from .trainings import Training, in_training_environment, need_training_environment

pytestmark = pytest.mark.timeout(300)

SHORT: dict[str, Json] = {"max_steps": 8, "save_steps": 4, "learning_rate": 1e-4}
LN2 = math.log(2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_training_environment()
    return tmp_path_factory.mktemp("a data folder")


@pytest.fixture(scope="module")
def trained(root: Path) -> Training:
    return Training(root, builtin.TINY_DPO_TRL, SHORT).done()


def test_it_learns_to_prefer(trained: Training) -> None:
    loss, margins = trained.series("train/loss"), trained.series("train/rewards/margins")
    assert loss[0] == pytest.approx(LN2, abs=1e-5)
    assert loss[-1] < 0.3 * LN2
    assert margins[-1] > 1 > margins[0] == 0
    assert trained.series("train/rewards/accuracies")[-1] == 1.0


def test_every_step_is_one_line_named_as_verl_names_it(trained: Training) -> None:
    lines = trained.lines()
    assert [line["step"] for line in lines] == list(range(1, 9))
    told = {"train/loss", "train/grad_norm", "train/lr", "train/rewards/chosen", "train/logps/rejected"}
    assert all(told <= set(line["metrics"]) for line in lines)
    assert {name.partition("/")[0] for line in lines for name in line["metrics"]} == {"train"}


def test_status_and_checkpoints_are_the_platforms(trained: Training) -> None:
    status = probe.probe_run(trained.folder.path)["status"]
    assert (status["state"], status["step"], status["target_step"]) == ("finished", 8, 8)
    assert (trained.exit.checkpoint.step, trained.exit.checkpoint.ok) == (8, True)
    assert checkpoints.steps(trained.folder.checkpoints) == [8, 4]
    assert not [name for name in os.listdir(trained.folder.checkpoints) if name.startswith("checkpoint-")]


def test_it_goes_on_after_it_was_killed_and_keeps_as_many_checkpoints_as_asked(root: Path, trained: Training) -> None:
    params = {**SHORT, "save_steps": 2, "save_total_limit": 1}
    killed = Training(root, builtin.TINY_DPO_TRL, params)
    until(lambda: checkpoints.survey(killed.folder.checkpoints).ok, 240)
    os.kill(killed.run.started().child_pid, signal.SIGKILL)
    assert killed.exit.signal == signal.SIGKILL
    step = killed.exit.checkpoint.step
    assert step is not None
    assert step < 8
    again = Training(root, builtin.TINY_DPO_TRL, params, resume_from=killed.checkpoint(step)).done()
    assert [line["step"] for line in again.lines()] == list(range(step + 1, 9))
    assert again.series("train/loss") == pytest.approx(trained.series("train/loss")[step:], rel=1e-3)
    assert checkpoints.steps(again.folder.checkpoints) == [8]


def test_lora_and_two_processes_reach_the_step_that_was_counted(root: Path) -> None:
    params: dict[str, Json] = {
        **SHORT,
        "max_steps": -1,
        "num_train_epochs": 1.5,
        "per_device_train_batch_size": 7,
        "gradient_accumulation_steps": 2,
        "learning_rate": 5e-3,
        "model.use_peft": True,
        "model.lora_r": 8,
        "model.lora_dropout": 0.0,
        "model.lora_target_modules": ["all-linear"],
    }
    one = Training(root, builtin.TINY_DPO_TRL, params, rows=60).done()
    # 9 batches, 5 steps an epoch; the half epoch counts as 3.
    assert (one.target, len(one.lines()), one.exit.checkpoint.ok) == (8, 8, True)
    assert one.series("train/loss")[0] == pytest.approx(LN2, abs=1e-5)
    assert one.series("train/rewards/margins")[-1] > 1
    assert "adapter_model.safetensors" in os.listdir(one.checkpoint(8))
    # Twice as many processes, half as many micro batches.
    together: dict[str, Json] = {**params, "gradient_accumulation_steps": 1, "max_steps": 4}
    two = Training(root, builtin.TINY_DPO_TRL, together, rows=60, processes=2).done()
    assert [line["step"] for line in two.lines()] == [1, 2, 3, 4]
    assert two.series("train/loss")[:2] == pytest.approx(one.series("train/loss")[:2], rel=1e-2)
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(os.listdir(two.checkpoint(4)))


FIELDS = """
import dataclasses, json
from trl import DPOConfig, ModelConfig
def told(kind, prefix):
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield prefix + field.name, default if isinstance(default, (str, int, float, bool, list, type(None))) else "?"
print(json.dumps({**dict(told(DPOConfig, "")), **dict(told(ModelConfig, "model."))}))
"""


def test_settings_of_recipes_are_trls_with_its_defaults(tmp_path: Path) -> None:
    real: dict[str, Any] = in_training_environment(FIELDS, tmp_path)
    assert {key: real.get(key, "no such field") for key in keys.LEAVES} == {
        key: default for key, (_type, default) in keys.LEAVES.items()
    }


WEIGHTS = """
import json, os, sys
from platform_runtime import weights
print(json.dumps(weights.whole(sys.argv[2], sys.argv[1])))
"""


def test_an_evaluation_finds_weights_where_they_are(trained: Training, tmp_path: Path) -> None:
    checkpoint = trained.checkpoint(8)
    assert in_training_environment(WEIGHTS, tmp_path, checkpoint) == [checkpoint, None]
    adapter = tmp_path / "global_step_3"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/models/base"}))
    assert in_training_environment(WEIGHTS, tmp_path, str(adapter)) == ["/models/base", str(adapter)]
