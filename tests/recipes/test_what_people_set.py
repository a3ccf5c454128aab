"""What people set most in verl's public example scripts is taken, with the values that they give it."""

from typing import Any, Final

import pytest

from pipelines.recipes.spec import RecipeSpec
from pipelines.recipes.trainers import TRAINERS
from pipelines.recipes.validate import check

SET: Final[dict[tuple[str, str], dict[str, list[Any]]]] = {
    ("sft", "verl"): {
        "optim.lr": [1e-4, 1e-5, 2e-5],
        "trainer.total_epochs": [2, 4, 1, 10],
        "data.micro_batch_size_per_gpu": [4, 64],
        "trainer.total_training_steps": [1, 2],
        "optim.lr_warmup_steps_ratio": [0.2, 0.01],
        "optim.weight_decay": [0.1],
        "optim.betas": [[0.9, 0.95]],
        "optim.clip_grad": [1.0],
        "model.target_modules": ["all-linear", ["q_proj", "v_proj"]],
        "model.lora_rank": [32],
        "model.lora_alpha": [16],
        "trainer.save_freq": [4000, -1, "after_each_epoch"],
        "trainer.max_ckpt_to_keep": [1, 5],
        "model.use_liger": [True],
        "optim.min_lr_ratio": [0.1],
        "engine.ulysses_sequence_parallel_size": [1],
        "engine.strategy": ["fsdp", "fsdp2"],
        "engine.fsdp_size": [-1, 8],
        "data.train_batch_size": [96, 128],
        "data.pad_mode": ["no_padding"],
    },
}
"""Algorithm and trainer -> key -> frequent values."""

PLATFORM: Final[dict[tuple[str, str], list[str]]] = {
    ("sft", "verl"): [
        "trainer.default_local_dir",
        "trainer.resume_mode",
        "trainer.n_gpus_per_node",
        "data.train_files",
    ],
}
"""What people set as well, and the platform does here."""


@pytest.mark.parametrize(
    ("trainer", "key", "value"),
    [(trainer, key, value) for trainer, keys in SET.items() for key, values in keys.items() for value in values],
    ids=str,
)
def test_a_frequent_value_is_taken(trainer, key, value):
    found = check(RecipeSpec("r", *trainer, "organisation/model", {key: value}))
    assert [problem.message for problem in found.errors] == []


@pytest.mark.parametrize(
    ("trainer", "key"), [(trainer, key) for trainer, keys in PLATFORM.items() for key in keys], ids=str
)
def test_what_the_platform_sets_is_taken_and_said_to_count_for_nothing(trainer, key):
    assert key in TRAINERS[trainer].tree().leaves
    found = check(RecipeSpec("r", *trainer, "organisation/model", {key: 1}))
    assert not found.errors
    assert (key, TRAINERS[trainer].rules.platform[key]) in [(one.key, one.template) for one in found.warnings]


@pytest.mark.parametrize("trainer", SET, ids=str)
def test_the_form_has_a_field_for_each(trainer):
    offered = {field.key for group in TRAINERS[trainer].groups for field in group.fields}
    assert [key for key in SET[trainer] if key not in offered] == []
