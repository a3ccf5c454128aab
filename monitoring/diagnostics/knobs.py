"""The parameter of a recipe that advice speaks of, by what it does: its key differs from trainer to trainer."""

from collections.abc import Mapping
from typing import Final

_ACTOR: Final = "actor_rollout_ref.actor"
_ROLLOUT: Final = "actor_rollout_ref.rollout"

KNOBS: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {
    ("sft", "verl"): {
        "learning_rate": "optim.lr",
        "warmup": "optim.lr_warmup_steps_ratio",
        "gradient_clip": "optim.clip_grad",
        "micro_batch": "data.micro_batch_size_per_gpu",
    },
    ("dpo", "verl"): {
        "learning_rate": "optim.lr",
        "warmup": "optim.lr_warmup_steps_ratio",
        "gradient_clip": "optim.clip_grad",
        "micro_batch": "data.micro_batch_size_per_gpu",
        "beta": "dpo.beta",
    },
    ("dpo", "trl"): {
        "learning_rate": "learning_rate",
        "gradient_clip": "max_grad_norm",
        "micro_batch": "per_device_train_batch_size",
        "beta": "beta",
    },
    ("grpo", "verl"): {
        "learning_rate": f"{_ACTOR}.optim.lr",
        "warmup": f"{_ACTOR}.optim.lr_warmup_steps_ratio",
        "gradient_clip": f"{_ACTOR}.optim.clip_grad",
        "micro_batch": f"{_ACTOR}.ppo_micro_batch_size_per_gpu",
        "kl_loss": f"{_ACTOR}.use_kl_loss",
        "kl_coefficient": f"{_ACTOR}.kl_loss_coef",
        "entropy_coefficient": f"{_ACTOR}.entropy_coeff",
        "temperature": f"{_ROLLOUT}.temperature",
        "answers": f"{_ROLLOUT}.n",
        "answer_length": "data.max_response_length",
        "log_probabilities": f"{_ROLLOUT}.calculate_log_probs",
    },
}
