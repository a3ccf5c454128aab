"""Recipes for GRPO by verl's PPO trainer: what they may say, and how many steps they have."""

import json

import pytest
from omegaconf import OmegaConf

from pipelines.recipes import builtin
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import RecipeError
from pipelines.recipes.trainers import trainer_of
from pipelines.recipes.validate import check
from platform_runtime import rewards

from .cases import RUN, dataset, place

ACTOR, REF, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.ref", "actor_rollout_ref.rollout"
REWARD = "reward.custom_reward_function.reward_kwargs"
PROMPTS = {"kind": "prompts", "rows": 128}


def grpo(params=None):
    return builtin.TINY_GRPO.spec.merged(params)


def found(params, gpus=1, **data):
    return check(grpo(params), dataset=dataset(**{**PROMPTS, **data}), gpus=gpus)


def wrong(params, gpus=1, **data):
    return [(error.key, error.suggestion) for error in found(params, gpus, **data).errors]


@pytest.mark.parametrize("kind", ["sft", "preference", "eval"])
def test_other_data_are_refused(kind):
    assert wrong({}, kind=kind) == [("dataset", None)]


@pytest.mark.parametrize(
    ("params", "key", "suggestion"),
    [
        ({f"{ROLLOUT}.n": 1, f"{ACTOR}.ppo_micro_batch_size_per_gpu": 4}, f"{ROLLOUT}.n", "8"),
        ({"algorithm.adv_estimator": "grop"}, "algorithm.adv_estimator", "grpo"),
        ({f"{ROLLOUT}.name": "hf"}, f"{ROLLOUT}.name", None),
        ({f"{ROLLOUT}.tensor_model_parallel_size": 2}, f"{ROLLOUT}.tensor_model_parallel_size", "1"),
        ({f"{ACTOR}.ppo_mini_batch_size": 3}, f"{ACTOR}.ppo_mini_batch_size", "4"),
        ({f"{ACTOR}.ppo_mini_batch_size": 8}, f"{ACTOR}.ppo_mini_batch_size", "4"),
        ({f"{ACTOR}.ppo_micro_batch_size_per_gpu": 64}, f"{ACTOR}.ppo_micro_batch_size_per_gpu", "32"),
        ({f"{ACTOR}.ppo_micro_batch_size_per_gpu": 5}, f"{ACTOR}.ppo_micro_batch_size_per_gpu", "4"),
        ({f"{ACTOR}.ppo_micro_batch_size_per_gpu": None}, f"{ACTOR}.ppo_micro_batch_size_per_gpu", "8"),
        ({f"{ROLLOUT}.log_prob_micro_batch_size": 8}, f"{ROLLOUT}.log_prob_micro_batch_size", "null"),
        ({f"{ACTOR}.ppo_micro_batch_size": 8}, f"{ACTOR}.ppo_micro_batch_size", "null"),
        ({f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": 24}, f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", "16"),
        ({f"{ACTOR}.use_kl_loss": True}, f"{REF}.log_prob_micro_batch_size_per_gpu", "8"),
        ({f"{ROLLOUT}.expert_parallel_size": 3}, f"{ROLLOUT}.expert_parallel_size", "1"),
        (
            {f"{ROLLOUT}.val_kwargs.do_sample": True, f"{ROLLOUT}.temperature": 0},
            f"{ROLLOUT}.val_kwargs.do_sample",
            "false",
        ),
        (
            {f"{ROLLOUT}.name": "vllm", f"{ROLLOUT}.pipeline_model_parallel_size": 2},
            f"{ROLLOUT}.pipeline_model_parallel_size",
            "1",
        ),
        (
            {f"{ROLLOUT}.name": "vllm", "actor_rollout_ref.model.lora_rank": 600},
            "actor_rollout_ref.model.lora_rank",
            "512",
        ),
        (
            {f"{ACTOR}.ulysses_sequence_parallel_size": 2, "actor_rollout_ref.model.use_remove_padding": False},
            "actor_rollout_ref.model.use_remove_padding",
            "true",
        ),
        ({f"{ROLLOUT}.max_model_len": 100}, f"{ROLLOUT}.max_model_len", "144"),
        (
            {f"{ACTOR}.use_dynamic_bsz": True, f"{ACTOR}.ppo_max_token_len_per_gpu": 100},
            f"{ACTOR}.ppo_max_token_len_per_gpu",
            "144",
        ),
        ({"trainer.total_training_steps": 33}, "trainer.total_training_steps", "32"),
        ({"data.train_batch_size": 256, f"{ACTOR}.ppo_mini_batch_size": 256}, "data.train_batch_size", None),
        ({f"{REWARD}.exact_match": "1"}, f"{REWARD}.exact_match", "1.0"),
        ({f"{REWARD}.format_pattern": "(["}, f"{REWARD}.format_pattern", None),
        ({f"{REWARD}.length_free": 800}, f"{REWARD}.length_limit", None),
        ({f"{REWARD}.exact": 1.0}, f"{REWARD}.exact", f"{REWARD}.exact_match"),
        ({"trainer.v1.trainer_mode": "separate_async"}, "trainer.v1.trainer_mode", "colocate_async"),
    ],
)
def test_what_cannot_work_is_refused(params, key, suggestion):
    assert (key, suggestion) in wrong(params)


def test_answers_are_shared_out_among_gpus():
    assert (
        wrong({f"{ACTOR}.ppo_micro_batch_size_per_gpu": 16, f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": 16}, 2)
        == []
    )
    assert {key for key, _ in wrong({}, 2)} == {
        f"{ACTOR}.ppo_micro_batch_size_per_gpu",
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
    }
    assert [key for key, _ in wrong({}, 3)] == [f"{ACTOR}.ppo_mini_batch_size"]


def test_with_batches_by_tokens_micro_batches_count_for_nothing():
    assert wrong({f"{ACTOR}.use_dynamic_bsz": True, f"{ACTOR}.ppo_micro_batch_size_per_gpu": 7}) == []


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"trainer.save_freq": -1}, "trainer.save_freq"),
        ({f"{ACTOR}.checkpoint.save_contents": ["optimizer"]}, f"{ACTOR}.checkpoint.save_contents"),
        (
            {
                "algorithm.use_kl_in_reward": True,
                f"{ACTOR}.use_kl_loss": True,
                f"{REF}.log_prob_micro_batch_size_per_gpu": 8,
            },
            "algorithm.use_kl_in_reward",
        ),
        ({f"{ROLLOUT}.temperature": 0.0}, f"{ROLLOUT}.temperature"),
        ({"data.filter_overlong_prompts": True}, "data.filter_overlong_prompts"),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(params, key):
    checked = found(params)
    assert checked.valid
    assert key in [warning.key for warning in checked.warnings]


def test_a_built_in_recipe_has_nothing_to_say_against_it():
    for recipe in (builtin.TINY_GRPO, builtin.SMOLLM2_GRPO):
        checked = check(recipe.spec, dataset=dataset(**PROMPTS))
        assert (checked.errors, checked.warnings) == ((), ())


@pytest.mark.parametrize(
    ("params", "rows", "target"),
    [
        ({"trainer.total_training_steps": None}, 128, 32),
        ({"trainer.total_training_steps": None}, 131, 32),
        ({"trainer.total_training_steps": None, "trainer.total_epochs": 3}, 10, 6),
        ({"trainer.total_training_steps": None, "data.train_max_samples": 12}, 128, 3),
        ({}, 128, 15),
    ],
)
def test_steps_are_counted_as_the_trainer_does(params, rows, target):
    data = dataset(kind="prompts", rows=rows)
    assert compile_recipe(grpo(params), data, place()).target_step == target


def test_without_saving_no_checkpoint_is_asked_for():
    compiled = compile_recipe(grpo({"trainer.save_freq": -1}), dataset(**PROMPTS), place())
    assert not compiled.checkpoint_required


def test_the_reward_has_the_defaults_of_its_module():
    leaves = trainer_of("grpo", "verl").tree().leaves
    standing = rewards.Settings()
    told = {key.removeprefix(f"{REWARD}."): leaf.default for key, leaf in leaves.items() if key.startswith(REWARD)}
    assert told == vars(standing)
    assert leaves[f"{REWARD}.format_pattern"].type == "string"


def test_only_an_administrator_lets_the_trainer_run_what_stands_in_a_file():
    params = {"reward.custom_reward_function.path": "/srv/reward.py"}
    assert wrong(params) == [("reward.custom_reward_function.path", None)]
    assert check(grpo(params), dataset=dataset(**PROMPTS), admin=True).valid


@pytest.mark.security
def test_every_setting_that_may_run_or_import_something_is_kept_from_people():
    trainer = trainer_of("grpo", "verl")
    guarded = {*trainer.rules.admin, *trainer.rules.platform}
    words = (
        "class",
        "module.",
        "_lib",
        "remote_code",
        "custom",
        "hook_cmd",
        "optimizer_impl",
        "engine_kwargs",
        "tool_path",
        "url",
    )
    harmless = {
        "actor_rollout_ref.model.custom_chat_template",  # a Jinja template, rendered in a sandbox by transformers
    }
    suspect = {
        key
        for key in trainer.tree().leaves
        if any(word in f"{key}." for word in words) and not key.startswith(f"{REWARD}.")
    }
    assert suspect - harmless - guarded == set()


def test_the_run_folder_gets_the_answers_and_nothing_is_validated():
    config = compile_recipe(grpo(), dataset(**PROMPTS), place()).config
    assert config["trainer"]["rollout_data_dir"] == f"{RUN}/attempt-1/rollouts"
    assert config["trainer"]["val_before_train"] is False
    assert config["actor_rollout_ref"]["rollout"]["name"] == "transformers"
    assert config["actor_rollout_ref"]["actor"]["profiler"]["save_path"] == f"{RUN}/attempt-1/profile"


def test_on_a_gpu_the_engine_is_the_recipes():
    config = compile_recipe(grpo(), dataset(**PROMPTS), place(cuda=True, gpus=1)).config
    assert config["actor_rollout_ref"]["rollout"]["name"] == "vllm"
    assert config["trainer"]["device"] == "cuda"


def test_what_stands_in_a_pattern_is_taken_as_it_is(tmp_path):
    pattern = r"a\${oc.env:HOME}|\d{2}${x}"
    compiled = compile_recipe(grpo({f"{REWARD}.format_pattern": pattern}), dataset(**PROMPTS), place())
    file = tmp_path / "config.yaml"
    file.write_text(compiled.config_yaml)
    loaded = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    assert loaded["reward"]["custom_reward_function"]["reward_kwargs"]["format_pattern"] == pattern
    json.dumps(loaded)


def test_too_long_a_run_is_not_compiled():
    with pytest.raises(RecipeError, match="32 steps"):
        compile_recipe(grpo({"trainer.total_training_steps": 100}), dataset(**PROMPTS), place())


@pytest.mark.security
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls", "evil.Module"),
        ("actor_rollout_ref.rollout.engine_kwargs.vllm", {"worker_extension_cls": "evil.Module"}),
        ("actor_rollout_ref.rollout.custom.anything", "x"),
        ("global_profiler.global_tool_config.nsys.worker_nsight_options.trace", "cuda;id #"),
        ("actor_rollout_ref.model.override_config.trust_remote_code", True),
        ("actor_rollout_ref.model.override_config.model_config.auto_map", {"AutoConfig": "x"}),
        ("data.mm_processor_kwargs", {"deep": [{"trust_remote_code": True}]}),
    ],
)
def test_what_is_an_administrators_is_so_below_it_and_by_any_way(key, value):
    spec = builtin.TINY_GRPO.spec.merged({key: value})
    assert key in [problem.key for problem in check(spec).errors]
    assert key not in [problem.key for problem in check(spec, admin=True).errors]
    assert key not in [problem.key for problem in check(spec, inherited={key: value}).errors]
