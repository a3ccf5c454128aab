"""Starting points for GPUs: Qwen2.5 from half a billion to seven billion parameters.

The values are those of verl's own examples for these sizes (examples/sft, examples/grpo_trainer) and, for DPO, of TRL's
documentation; the number of GPUs that a description names is the one for which batches and sharding were chosen.
"""

from typing import Final

from pipelines.recipes import resources
from pipelines.recipes.spec import DPO, GRPO, SFT, VERL, Json, gettext_noop

from .base import BuiltinRecipe

_SMALL: Final = "Qwen/Qwen2.5-0.5B-Instruct"
_LARGE: Final = "Qwen/Qwen2.5-7B-Instruct"

_LORA: Final[dict[str, Json]] = {"lora_rank": 32, "lora_alpha": 16, "target_modules": "all-linear"}


def _gpus(count: int, memory_gib: int) -> dict[str, Json]:
    return {resources.GPUS: count, resources.MEMORY: memory_gib}


def _below(prefix: str, params: dict[str, Json]) -> dict[str, Json]:
    return {f"{prefix}.{key}": value for key, value in params.items()}


# --- SFT ------------------------------------------------------------------------------------------------------

_SFT: Final[dict[str, Json]] = {
    "data.train_batch_size": 64,
    "data.micro_batch_size_per_gpu": 4,
    "data.use_dynamic_bsz": False,
    "data.max_length": 2048,
    "data.truncation": "right",
    "data.pad_mode": "no_padding",
    "model.use_remove_padding": True,
    "model.enable_gradient_checkpointing": True,
    "engine.strategy": "fsdp2",
    "optim.lr": 1e-5,
    "optim.lr_scheduler_type": "cosine",
    "optim.lr_warmup_steps_ratio": 0.05,
    "optim.weight_decay": 0.1,
    "optim.clip_grad": 1.0,
    "trainer.total_epochs": 2,
    "trainer.save_freq": 100,
    "trainer.max_ckpt_to_keep": 2,
}

QWEN_SMALL_SFT: Final = BuiltinRecipe(
    slug="qwen-0-5b-sft",
    name=gettext_noop("Qwen2.5 0.5B SFT"),
    description=gettext_noop("The whole model, on one GPU with 24 GB."),
    algorithm=SFT,
    trainer=VERL,
    base_model=_SMALL,
    dataset="",
    params={**_gpus(1, 24), **_SFT},
)

QWEN_LARGE_LORA_SFT: Final = BuiltinRecipe(
    slug="qwen-7b-lora-sft",
    name=gettext_noop("Qwen2.5 7B SFT with LoRA"),
    description=gettext_noop("Small matrices beside a model of 7 billion parameters, on one GPU with 80 GB."),
    algorithm=SFT,
    trainer=VERL,
    base_model=_LARGE,
    dataset="",
    params={**_gpus(1, 80), **_SFT, **_below("model", _LORA), "optim.lr": 1e-4, "engine.model_dtype": "bf16"},
)

QWEN_LARGE_SFT: Final = BuiltinRecipe(
    slug="qwen-7b-sft",
    name=gettext_noop("Qwen2.5 7B SFT"),
    description=gettext_noop("The whole model, on eight GPUs with 80 GB each."),
    algorithm=SFT,
    trainer=VERL,
    base_model=_LARGE,
    dataset="",
    params={**_gpus(8, 80), **_SFT, "data.train_batch_size": 128, "trainer.save_freq": 200},
)

# --- DPO ------------------------------------------------------------------------------------------------------

_DPO: Final[dict[str, Json]] = {
    "dpo.beta": 0.1,
    "data.train_batch_size": 32,
    "data.micro_batch_size_per_gpu": 2,
    "data.use_dynamic_bsz": False,
    "data.max_length": 2048,
    "data.truncation": "right",
    "model.enable_gradient_checkpointing": True,
    "engine.strategy": "fsdp2",
    "optim.lr": 5e-7,
    "optim.lr_scheduler_type": "cosine",
    "optim.lr_warmup_steps_ratio": 0.1,
    "optim.clip_grad": 1.0,
    "trainer.total_epochs": 1,
    "trainer.save_freq": 100,
    "trainer.max_ckpt_to_keep": 2,
}

QWEN_SMALL_DPO: Final = BuiltinRecipe(
    slug="qwen-0-5b-dpo",
    name=gettext_noop("Qwen2.5 0.5B DPO"),
    description=gettext_noop("The whole model and its frozen reference, on one GPU with 24 GB."),
    algorithm=DPO,
    trainer=VERL,
    base_model=_SMALL,
    dataset="",
    params={**_gpus(1, 24), **_DPO, "optim.lr": 1e-6},
)

QWEN_LARGE_LORA_DPO: Final = BuiltinRecipe(
    slug="qwen-7b-lora-dpo",
    name=gettext_noop("Qwen2.5 7B DPO with LoRA"),
    description=gettext_noop(
        "Small matrices beside a model of 7 billion parameters, which is its own reference without them, on one GPU "
        "with 80 GB."
    ),
    algorithm=DPO,
    trainer=VERL,
    base_model=_LARGE,
    dataset="",
    params={**_gpus(1, 80), **_DPO, **_below("model", _LORA), "optim.lr": 5e-6, "engine.model_dtype": "bf16"},
)

QWEN_LARGE_DPO: Final = BuiltinRecipe(
    slug="qwen-7b-dpo",
    name=gettext_noop("Qwen2.5 7B DPO"),
    description=gettext_noop("The whole model and its frozen reference, on eight GPUs with 80 GB each."),
    algorithm=DPO,
    trainer=VERL,
    base_model=_LARGE,
    dataset="",
    params={**_gpus(8, 80), **_DPO, "data.train_batch_size": 64},
)

# --- GRPO -----------------------------------------------------------------------------------------------------

_ACTOR: Final = "actor_rollout_ref.actor"
_REF: Final = "actor_rollout_ref.ref"
_ROLLOUT: Final = "actor_rollout_ref.rollout"
_MODEL: Final = "actor_rollout_ref.model"
_REWARD: Final = "reward.custom_reward_function.reward_kwargs"

_GRPO: Final[dict[str, Json]] = {
    "data.train_batch_size": 128,
    "data.max_prompt_length": 512,
    "data.max_response_length": 1024,
    "data.truncation": "error",
    "data.seed": 1,
    f"{_MODEL}.use_remove_padding": True,
    f"{_MODEL}.enable_gradient_checkpointing": True,
    f"{_ACTOR}.optim.lr": 1e-6,
    f"{_ACTOR}.ppo_mini_batch_size": 64,
    f"{_ACTOR}.ppo_micro_batch_size_per_gpu": 8,
    f"{_ACTOR}.use_kl_loss": True,
    f"{_ACTOR}.kl_loss_coef": 0.001,
    f"{_ACTOR}.kl_loss_type": "low_var_kl",
    f"{_ACTOR}.entropy_coeff": 0,
    # Costs little, and without it nobody sees that the answers become all alike.
    f"{_ACTOR}.calculate_entropy": True,
    f"{_ROLLOUT}.name": "vllm",
    f"{_ROLLOUT}.n": 8,
    f"{_ROLLOUT}.gpu_memory_utilization": 0.5,
    f"{_ROLLOUT}.tensor_model_parallel_size": 1,
    f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": 16,
    f"{_REF}.log_prob_micro_batch_size_per_gpu": 16,
    f"{_REWARD}.exact_match": 1.0,
    f"{_REWARD}.format": 0.1,
    "trainer.total_epochs": 3,
    "trainer.save_freq": 20,
    "trainer.max_actor_ckpt_to_keep": 2,
}

QWEN_SMALL_GRPO: Final = BuiltinRecipe(
    slug="qwen-0-5b-grpo",
    name=gettext_noop("Qwen2.5 0.5B GRPO"),
    description=gettext_noop("Answers by vLLM, rewards by rule, on one GPU with 40 GB."),
    algorithm=GRPO,
    trainer=VERL,
    base_model=_SMALL,
    dataset="",
    params={**_gpus(1, 40), **_GRPO},
)

QWEN_LARGE_LORA_GRPO: Final = BuiltinRecipe(
    slug="qwen-7b-lora-grpo",
    name=gettext_noop("Qwen2.5 7B GRPO with LoRA"),
    description=gettext_noop("Small matrices beside a model of 7 billion parameters, on two GPUs with 80 GB each."),
    algorithm=GRPO,
    trainer=VERL,
    base_model=_LARGE,
    dataset="",
    params={
        **_gpus(2, 80),
        **_GRPO,
        **_below(_MODEL, _LORA),
        f"{_ACTOR}.optim.lr": 3e-5,
        f"{_ACTOR}.ppo_micro_batch_size_per_gpu": 4,
        f"{_ROLLOUT}.load_format": "safetensors",
    },
)

QWEN_LARGE_GRPO: Final = BuiltinRecipe(
    slug="qwen-7b-grpo",
    name=gettext_noop("Qwen2.5 7B GRPO"),
    description=gettext_noop("The whole model, on eight GPUs with 80 GB each."),
    algorithm=GRPO,
    trainer=VERL,
    base_model=_LARGE,
    dataset="",
    params={
        **_gpus(8, 80),
        **_GRPO,
        "data.train_batch_size": 512,
        f"{_ACTOR}.ppo_mini_batch_size": 128,
        f"{_ACTOR}.ppo_micro_batch_size_per_gpu": 8,
        f"{_ACTOR}.fsdp_config.param_offload": False,
        f"{_ACTOR}.fsdp_config.optimizer_offload": False,
        f"{_ROLLOUT}.tensor_model_parallel_size": 2,
        f"{_ROLLOUT}.gpu_memory_utilization": 0.6,
        f"{_REF}.fsdp_config.param_offload": True,
    },
)

QWEN: Final = (
    QWEN_SMALL_SFT,
    QWEN_LARGE_LORA_SFT,
    QWEN_LARGE_SFT,
    QWEN_SMALL_DPO,
    QWEN_LARGE_LORA_DPO,
    QWEN_LARGE_DPO,
    QWEN_SMALL_GRPO,
    QWEN_LARGE_LORA_GRPO,
    QWEN_LARGE_GRPO,
)
