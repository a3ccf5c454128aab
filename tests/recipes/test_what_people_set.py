"""What people set most in verl's public example scripts is taken, with the values that they give it."""

from dataclasses import replace
from typing import Any, Final

import pytest

from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import RecipeSpec
from pipelines.recipes.trainers import TRAINERS
from pipelines.recipes.validate import check

from .cases import dataset, place

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
        "engine.ulysses_sequence_parallel_size": [1, 2],
        "engine.strategy": ["fsdp", "fsdp2"],
        "engine.fsdp_size": [-1, 8],
        "data.train_batch_size": [96, 128],
        "data.pad_mode": ["no_padding"],
    },
    ("grpo", "verl"): {
        "data.train_batch_size": [1024, 512, 256, 4096],
        "actor_rollout_ref.actor.ppo_mini_batch_size": [256, 128, 64, 32],
        "data.max_prompt_length": [1024, 512, 2048, 4096],
        "data.max_response_length": [1024, 2048, 512, 4096],
        "actor_rollout_ref.rollout.tensor_model_parallel_size": [2, 1, 4, 8],
        "actor_rollout_ref.actor.optim.lr": [1e-6, 3e-6, 3e-5, 5e-8],
        "actor_rollout_ref.actor.use_kl_loss": [True, False],
        "actor_rollout_ref.rollout.gpu_memory_utilization": [0.6, 0.5, 0.4, 0.7],
        "algorithm.adv_estimator": ["grpo", "gae", "gpg", "remax"],
        "trainer.save_freq": [20, -1, 100, 10],
        "data.truncation": ["error", "left"],
        "trainer.total_epochs": [15, 1, 10, 5],
        "algorithm.use_kl_in_reward": [False, True],
        "data.filter_overlong_prompts": [True, False],
        "trainer.critic_warmup": [0],
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": [16, 4, 1, 32],
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": [4, 16, 32, 1],
        "actor_rollout_ref.rollout.n": [5, 8, 16, 4],
        "actor_rollout_ref.model.enable_gradient_checkpointing": [True, False],
        "actor_rollout_ref.actor.kl_loss_coef": [0.001, 0.01, 0.0],
        "actor_rollout_ref.actor.fsdp_config.param_offload": [False, True],
        "actor_rollout_ref.model.use_remove_padding": [True, False],
        "actor_rollout_ref.actor.fsdp_config.optimizer_offload": [False, True],
        "actor_rollout_ref.actor.entropy_coeff": [0, 0.001],
        "actor_rollout_ref.actor.kl_loss_type": ["low_var_kl", "mse"],
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": [4, 32, 16, 1],
        "actor_rollout_ref.ref.fsdp_config.param_offload": [True],
        "actor_rollout_ref.actor.use_dynamic_bsz": [True, False],
        "data.return_raw_chat": [True],
        "actor_rollout_ref.rollout.enable_chunked_prefill": [False, True],
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": [24000, 4096, 8192, 12000],
        "algorithm.kl_ctrl.kl_coef": [0.001, 0.0],
        "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu": [24000, 4096, 8192, 20480],
        "trainer.total_training_steps": [2, 1, 300, 50000],
        "actor_rollout_ref.actor.ulysses_sequence_parallel_size": [2, 1, 4],
        "actor_rollout_ref.rollout.max_num_batched_tokens": [1536, 32768, 14000, 10240],
        "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz": [True],
        "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": [8192, 4096, 20480, 6144],
        "actor_rollout_ref.rollout.mode": ["async", "sync"],
        "actor_rollout_ref.ref.log_prob_use_dynamic_bsz": [True],
        "actor_rollout_ref.rollout.enforce_eager": [False, True],
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
    ("grpo", "verl"): [
        "actor_rollout_ref.model.path",
        "trainer.n_gpus_per_node",
        "trainer.nnodes",
        "trainer.test_freq",
        "trainer.val_before_train",
        "trainer.resume_mode",
    ],
}
"""What people set as well, and the platform does here."""


BESIDE: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("sft", "verl"): {},
    ("grpo", "verl"): {
        "actor_rollout_ref.rollout.n": 8,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 8,
    },
}
"""What a recipe has to say besides."""


@pytest.mark.parametrize(
    ("trainer", "key", "value"),
    [(trainer, key, value) for trainer, keys in SET.items() for key, values in keys.items() for value in values],
    ids=str,
)
def test_a_frequent_value_is_taken(trainer, key, value):
    found = check(RecipeSpec("r", *trainer, "organisation/model", {**BESIDE[trainer], key: value}))
    assert [(problem.key, problem.message) for problem in found.errors] == []


@pytest.mark.parametrize(
    ("trainer", "key"), [(trainer, key) for trainer, keys in PLATFORM.items() for key in keys], ids=str
)
def test_what_the_platform_sets_is_taken_and_said_to_count_for_nothing(trainer, key):
    assert key in TRAINERS[trainer].tree().leaves
    found = check(RecipeSpec("r", *trainer, "organisation/model", {**BESIDE[trainer], key: 1}))
    assert not found.errors
    assert (key, TRAINERS[trainer].rules.platform[key]) in [(one.key, one.template) for one in found.warnings]


@pytest.mark.parametrize(
    "params",
    [
        {"critic.optim.lr": 1e-5, "critic.model.path": "organisation/model"},
        {"critic.ppo_micro_batch_size_per_gpu": 32, "critic.model.use_remove_padding": True},
        {"critic.model.enable_gradient_checkpointing": True},
    ],
    ids=lambda params: next(iter(params)),
)
def test_a_critic_is_taken_and_said_to_count_for_nothing(params):
    spec = RecipeSpec("r", "grpo", "verl", "organisation/model", {**BESIDE["grpo", "verl"], **params})
    found = check(spec)
    assert not found.errors
    assert {one.key for one in found.warnings} >= params.keys()
    where, data = place(cuda=True, gpus=1), dataset(rows=10_000, kind="prompts")
    without = compile_recipe(replace(spec, params=BESIDE["grpo", "verl"]), data, where)
    assert compile_recipe(spec, data, where).config == without.config


@pytest.mark.parametrize(
    ("key", "value", "used"),
    [
        ("algorithm.adv_estimator", "gae", "grpo"),
        ("algorithm.adv_estimator", "remax", "grpo"),
        ("actor_rollout_ref.rollout.mode", "sync", "async"),
    ],
)
def test_what_cannot_be_run_here_is_taken_and_said_what_counts_instead(key, value, used):
    spec = RecipeSpec("r", "grpo", "verl", "organisation/model", {**BESIDE["grpo", "verl"], key: value})
    found = check(spec)
    assert not found.errors
    assert (key, used) in [(one.key, one.suggestion) for one in found.warnings]
    compiled = compile_recipe(spec, dataset(rows=10_000, kind="prompts"), place(cuda=True, gpus=1))
    assert compiled.adjusted[key] == (value, used)
    assert (
        compiled.config
        == compile_recipe(
            spec.merged({key: used}), dataset(rows=10_000, kind="prompts"), place(cuda=True, gpus=1)
        ).config
    )


def test_one_prompt_one_answer_is_not_enough_for_what_counts_instead():
    spec = RecipeSpec("r", "grpo", "verl", "organisation/model", {"algorithm.adv_estimator": "remax"})
    assert ("actor_rollout_ref.rollout.n", "8") in [(one.key, one.suggestion) for one in check(spec).errors]


def test_gpus_that_nobody_knows_yet_are_as_many_as_the_settings_need():
    params = {**BESIDE["grpo", "verl"], "actor_rollout_ref.rollout.tensor_model_parallel_size": 4}
    spec = RecipeSpec("r", "grpo", "verl", "organisation/model", params)
    assert check(spec).valid
    assert check(spec, gpus=8).valid
    assert [one.key for one in check(spec, gpus=2).errors] == ["actor_rollout_ref.rollout.tensor_model_parallel_size"]


def test_the_form_for_sft_has_a_field_for_each():
    offered = {field.key for group in TRAINERS["sft", "verl"].groups for field in group.fields}
    assert [key for key in SET["sft", "verl"] if key not in offered] == []
