"""What the compiler writes for GRPO is loaded by the real verl as it was meant."""

import pytest

from pipelines.recipes import builtin
from pipelines.recipes.compiler import compile_recipe
from tests.training.trainings import in_training_environment

from .cases import dataset_of, place

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]

PATTERN = r"a${oc.env:HOME}|\${x}|^#{4} \d+$"

LOAD = """
import json, os, sys
from platform_runtime.trainers import verl_grpo
os.chdir(sys.argv[1])
verl_grpo.prepare_environment(sys.argv[1])
config = verl_grpo.for_verl(verl_grpo.read(sys.argv[2]))
from omegaconf import OmegaConf
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config
needs = {"reference": need_reference_policy(config), "critic": need_critic(config)}
validate_config(config, use_reference_policy=needs["reference"], use_critic=needs["critic"])
OmegaConf.resolve(config)  # as main_ppo.py does
actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
config.reward.custom_reward_function.update(path="pkg://platform_runtime.rewards", name="compute_score")
compute = get_custom_reward_fn(config)
print(json.dumps({
    **needs,
    "classes": [type(actor).__name__, type(actor.fsdp_config).__name__, type(rollout).__name__],
    "mixed": dict(actor.fsdp_config.mixed_precision),
    "answers": [rollout.name, rollout.n, rollout.prompt_length, rollout.response_length],
    "lr": actor.optim.lr,
    "pattern": config.reward.custom_reward_function.reward_kwargs.get("format_pattern"),
    "told": compute(data_source="prompts", solution_str="so #### 5", ground_truth="5", extra_info={}),
}))
"""


@pytest.fixture
def load(tmp_path):
    def load(recipe, params=None):
        compiled = compile_recipe(recipe.spec.merged(params), dataset_of(recipe), place(attempt_folder=str(tmp_path)))
        file = tmp_path / "config.yaml"
        file.write_text(compiled.config_yaml, encoding="utf-8")
        return in_training_environment(LOAD, tmp_path, str(file))

    return load


def test_the_tiny_recipe_is_loaded(load):
    made = load(builtin.TINY_GRPO)
    assert made["classes"] == ["FSDPActorConfig", "FSDPEngineConfig", "RolloutConfig"]
    assert made["mixed"] == {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    assert made["answers"] == ["transformers", 8, 128, 16]
    assert (made["lr"], made["reference"], made["critic"]) == (0.001, False, False)
    assert made["told"] == {"score": pytest.approx(1 + 1 / 9), "exact_match": 1.0, "digits": pytest.approx(1 / 9)}


def test_the_recipe_for_smollm2_is_loaded(load):
    made = load(builtin.SMOLLM2_GRPO)
    assert (made["reference"], made["critic"]) == (True, False)
    assert made["told"] == {"score": pytest.approx(1 + 0.2 / 9), "exact_match": 1.0, "digits": pytest.approx(1 / 9)}


@pytest.mark.security
def test_a_substitution_in_a_pattern_is_never_looked_up(load):
    key = "reward.custom_reward_function.reward_kwargs"
    made = load(builtin.TINY_GRPO, {f"{key}.format": 1.0, f"{key}.format_pattern": PATTERN})
    assert made["pattern"] == PATTERN
