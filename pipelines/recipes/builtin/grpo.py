"""Built-in recipes for GRPO."""

from typing import Final

from pipelines.recipes.spec import VERL, gettext_noop

from .arithmetic import ARITHMETIC_PROMPTS
from .base import BuiltinRecipe

_ACTOR: Final = "actor_rollout_ref.actor"
_REF: Final = "actor_rollout_ref.ref"
_ROLLOUT: Final = "actor_rollout_ref.rollout"
_MODEL: Final = "actor_rollout_ref.model"
_REWARD: Final = "reward.custom_reward_function.reward_kwargs"

TINY_GRPO: Final = BuiltinRecipe(
    slug="tiny-grpo",
    name=gettext_noop("Tiny GRPO"),
    description=gettext_noop(
        "Rewards a Llama of a few million parameters, made on the spot, for answers in digits, until it gives little "
        "else. A minute or two on two cores."
    ),
    algorithm="grpo",
    trainer=VERL,
    base_model="builtin:tiny-llama",
    dataset=ARITHMETIC_PROMPTS.slug,
    params={
        "data.train_batch_size": 4,
        "data.max_prompt_length": 128,
        "data.max_response_length": 16,
        "data.seed": 1,
        f"{_MODEL}.enable_gradient_checkpointing": False,
        # No flash-attn needed, on a GPU either.
        f"{_MODEL}.use_remove_padding": False,
        f"{_MODEL}.override_config.attn_implementation": "sdpa",
        f"{_ACTOR}.optim.lr": 0.001,
        f"{_ACTOR}.ppo_mini_batch_size": 4,
        f"{_ACTOR}.ppo_micro_batch_size_per_gpu": 32,
        f"{_ROLLOUT}.n": 8,
        f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": 32,
        f"{_REWARD}.digits": 1.0,
        "trainer.total_epochs": 1,
        "trainer.total_training_steps": 15,
        "trainer.save_freq": 10,
        "trainer.max_actor_ckpt_to_keep": 2,
    },
)

SMOLLM2_GRPO: Final = BuiltinRecipe(
    slug="smollm2-grpo",
    name=gettext_noop("SmolLM2 GRPO"),
    description=gettext_noop(
        "Rewards SmolLM2-135M for sums that are right, and nothing but the number. Some ten minutes and 12 GB of "
        "memory on two cores."
    ),
    algorithm="grpo",
    trainer=VERL,
    base_model="builtin:smollm2-135m",
    dataset=ARITHMETIC_PROMPTS.slug,
    params={
        **TINY_GRPO.params,
        "data.max_response_length": 16,
        f"{_ACTOR}.optim.lr": 0.00004,
        f"{_ACTOR}.use_kl_loss": True,
        f"{_ACTOR}.ppo_micro_batch_size_per_gpu": 16,
        f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": 16,
        f"{_REF}.log_prob_micro_batch_size_per_gpu": 16,
        # A way to go for one that talks around the number. With 0.5 it answers in digits alone, and in wrong ones.
        f"{_REWARD}.digits": 0.2,
        "trainer.total_training_steps": 12,
        "trainer.save_freq": 6,
    },
)
