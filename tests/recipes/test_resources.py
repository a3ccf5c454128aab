"""What a recipe asks of its host: said, read from its other settings, or nothing at all."""

import pytest

from pipelines.recipes import builtin, imports, resources, validate
from pipelines.recipes.compiler import compile_recipe

from .cases import dataset, place, recipe

HUB = "Qwen/Qwen2.5-0.5B-Instruct"


@pytest.mark.parametrize("wanted", builtin.ON_CPU, ids=lambda wanted: wanted.slug)
def test_what_the_platform_makes_itself_takes_no_gpu_from_anybody(wanted):
    assert validate.resources_of(wanted.spec) == resources.Resources()


def test_the_starting_points_for_gpus_say_what_they_need():
    asked = {wanted.slug: validate.resources_of(wanted.spec) for wanted in builtin.RECIPES if "qwen" in wanted.slug}
    assert {slug: (found.gpus, found.gpu_memory_gib) for slug, found in asked.items()} == {
        "qwen-0-5b-sft": (1, 24), "qwen-7b-lora-sft": (1, 80), "qwen-7b-sft": (8, 80),
        "qwen-0-5b-dpo": (1, 24), "qwen-7b-lora-dpo": (1, 80), "qwen-7b-dpo": (8, 80),
        "qwen-0-5b-grpo": (1, 40), "qwen-7b-lora-grpo": (2, 80), "qwen-7b-grpo": (8, 80),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("params", "base_model", "gpus"),
    [
        ({}, HUB, 1),
        ({"engine.ulysses_sequence_parallel_size": 4}, HUB, 4),
        ({"trainer.n_gpus_per_node": 8}, HUB, 8),
        ({"trainer.n_gpus_per_node": 8, "resources.gpus": 2}, HUB, 2),
        ({"resources.gpus": 0}, HUB, 0),
        ({"trainer.n_gpus_per_node": 8}, "builtin:tiny-llama", 0),
        ({"resources.gpus": 1}, "builtin:tiny-llama", 1),
    ],
)
def test_what_is_not_said_is_read_from_the_other_settings(params, base_model, gpus):
    assert validate.resources_of(recipe(params, base_model=base_model)).gpus == gpus


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resources.gpus", -1), ("resources.gpus", 1.5), ("resources.gpus", "2"), ("resources.gpus", 5000),
        ("resources.gpu_memory_gib", -1), ("resources.gpu_memory_gib", "80"), ("resources.labels", "fast"),
        ("resources.labels", ["Fast"]), ("resources.labels", [1]), ("resources.nodes", 2),
    ],
)  # fmt: skip
def test_wrong_values_are_told_at_their_key(key, value):
    found = validate.check(recipe({key: value}))
    assert [problem.key for problem in found.errors] == [key]


def test_the_number_of_gpus_is_what_batches_are_checked_against():
    found = validate.check(recipe({"resources.gpus": 3}, base_model=HUB))
    assert [problem.message for problem in found.errors] == [
        "16 is not divisible by data.micro_batch_size_per_gpu times GPUs (16 x 3)."
    ]


def test_no_trainer_is_told_of_them():
    params = {"resources.gpus": 1, "resources.gpu_memory_gib": 24, "resources.labels": ["fast"]}
    assert compile_recipe(recipe(params), dataset(), place()) == compile_recipe(recipe(), dataset(), place())


def test_a_script_brings_its_number_of_gpus_along():
    found = imports.read(
        "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo trainer.n_gpus_per_node=8 "
        f"actor_rollout_ref.model.path={HUB}"
    )
    assert found.spec.params["resources.gpus"] == 8
    assert validate.resources_of(found.spec).gpus == 8
