"""What verl's code takes beyond a key's type: words it compares with, and numbers that make sense."""

from collections.abc import Mapping
from typing import Final

_ACTOR: Final = "actor_rollout_ref.actor"
_REF: Final = "actor_rollout_ref.ref"
_ROLLOUT: Final = "actor_rollout_ref.rollout"
_SAVE_PARTS: Final = ("model", "optimizer", "extra", "hf_model")
_STRATEGIES: Final = ("fsdp", "fsdp2")

IN_GROUPS: Final = ("grpo", "grpo_vectorized", "grpo_passk", "rloo", "rloo_vectorized", "gdpo")
"""Estimators that compare the answers to one prompt with each other."""
ESTIMATORS: Final = (
    *IN_GROUPS,
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "opo",
    "gpg",
    "optimal_token_baseline",
    "tir_optimal_token_baseline",
)
"""verl/trainer/ppo/core_algos.py, AdvantageEstimator, without those that need a critic (gae) or a second sampling."""

WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "algorithm.adv_estimator": ESTIMATORS,
    # verl/trainer/ppo/core_algos.py: get_kl_controller, kl_penalty_forward, register_policy_loss, agg_loss
    "algorithm.kl_ctrl.type": ("fixed", "adaptive"),
    "algorithm.kl_penalty": ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3", "full"),
    f"{_ACTOR}.kl_loss_type": ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3", "k1+", "k3+"),
    f"{_ACTOR}.policy_loss.loss_mode": (
        "vanilla",
        "dppo_tv",
        "dppo_kl",
        "gspo",
        "sapo",
        "gpg",
        "clip_cov",
        "kl_cov",
        "geo_mean",
        "dro",
        "cispo",
        "bypass_mode",
    ),
    f"{_ACTOR}.loss_agg_mode": ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"),
    # verl/workers/config/engine.py and optimizer.py assert both.
    f"{_ACTOR}.strategy": _STRATEGIES,
    f"{_ACTOR}.fsdp_config.strategy": _STRATEGIES,
    f"{_REF}.strategy": _STRATEGIES,
    f"{_REF}.fsdp_config.strategy": _STRATEGIES,
    f"{_ACTOR}.optim.lr_scheduler_type": ("constant", "cosine"),
    f"{_ACTOR}.optim.warmup_style": ("constant", "cosine"),
    # verl/utils/checkpoint/checkpoint_manager.py
    f"{_ACTOR}.checkpoint.save_contents": _SAVE_PARTS,
    f"{_ACTOR}.checkpoint.load_contents": _SAVE_PARTS,
    # verl/workers/rollout/base.py, and the platform's own for CPUs
    f"{_ROLLOUT}.name": ("vllm", "sglang", "trtllm", "transformers"),
    f"{_ROLLOUT}.mode": ("async",),
    "data.truncation": ("error", "left", "right", "middle"),
    # verl/trainer/ppo/v1: the third mode needs GPUs of its own for answering.
    "trainer.v1.trainer_mode": ("sync", "colocate_async"),
    "trainer.v1.sampler.max_off_policy_strategy": ("drop", "wait"),
    "reward.reward_manager.name": ("naive", "dapo"),
    "model_engine": ("dp",),
}
"""key -> the texts it (or each of its list's items) may be."""

AT_LEAST: Final[Mapping[str, int | float]] = {
    "data.train_batch_size": 1,
    "data.max_prompt_length": 1,
    "data.max_response_length": 1,
    "data.dataloader_num_workers": 0,
    f"{_ACTOR}.ppo_mini_batch_size": 1,
    f"{_ACTOR}.ppo_micro_batch_size_per_gpu": 1,
    f"{_ACTOR}.ppo_max_token_len_per_gpu": 1,
    f"{_ACTOR}.ppo_epochs": 1,
    f"{_ACTOR}.clip_ratio": 0.0,
    f"{_ACTOR}.clip_ratio_low": 0.0,
    f"{_ACTOR}.clip_ratio_high": 0.0,
    f"{_ACTOR}.kl_loss_coef": 0.0,
    f"{_ACTOR}.grad_clip": 0.0,
    f"{_ACTOR}.ulysses_sequence_parallel_size": 1,
    f"{_ACTOR}.optim.lr": 0.0,
    f"{_ACTOR}.optim.weight_decay": 0.0,
    f"{_ACTOR}.optim.clip_grad": 0.0,
    f"{_ACTOR}.optim.lr_warmup_steps_ratio": 0.0,
    f"{_ACTOR}.optim.min_lr_ratio": 0.0,
    f"{_REF}.log_prob_micro_batch_size_per_gpu": 1,
    f"{_ROLLOUT}.n": 1,
    f"{_ROLLOUT}.trace.max_samples_per_step_per_worker": 0,
    f"{_ROLLOUT}.temperature": 0.0,
    f"{_ROLLOUT}.top_p": 0.0,
    f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": 1,
    f"{_ROLLOUT}.tensor_model_parallel_size": 1,
    f"{_ROLLOUT}.data_parallel_size": 1,
    f"{_ROLLOUT}.pipeline_model_parallel_size": 1,
    f"{_ROLLOUT}.max_num_seqs": 1,
    f"{_ROLLOUT}.max_model_len": 1,
    f"{_ROLLOUT}.gpu_memory_utilization": 0.0,
    f"{_ROLLOUT}.agent.num_workers": 1,
    "actor_rollout_ref.model.lora_rank": 0,
    "algorithm.kl_ctrl.kl_coef": 0.0,
    "reward.num_workers": 1,
    "trainer.total_epochs": 1,
    "trainer.total_training_steps": 1,
    "trainer.max_actor_ckpt_to_keep": 1,
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
}

AT_MOST: Final[Mapping[str, int | float]] = {
    f"{_ACTOR}.optim.lr_warmup_steps_ratio": 1.0,
    f"{_ACTOR}.optim.min_lr_ratio": 1.0,
    f"{_ROLLOUT}.top_p": 1.0,
    f"{_ROLLOUT}.gpu_memory_utilization": 1.0,
}

NOT_ZERO: Final = frozenset({f"{_ACTOR}.fsdp_config.fsdp_size", f"{_REF}.fsdp_config.fsdp_size"})
"""-1 means all; verl divides by them."""

LENGTHS: Final[Mapping[str, int]] = {f"{_ACTOR}.optim.betas": 2}
"""Lists of a fixed length."""

TYPES: Final[Mapping[str, str]] = {
    # verl/trainer/ppo/v1/trainer_base.py counts steps up to the first.
    "trainer.total_training_steps": "integer|null",
    "trainer.max_actor_ckpt_to_keep": "integer|null",
    "trainer.default_hdfs_dir": "null|string",
    "trainer.resume_from_path": "null|string",
    "trainer.rollout_data_dir": "null|string",
    "trainer.validation_data_dir": "null|string",
    "trainer.checkpoint_callback_class": "null|string",
    "trainer.v1.sampler.custom_sampler.path": "null|string",
    "trainer.v1.sampler.custom_sampler.name": "null|string",
    "trainer.v1.sampler.max_off_policy_threshold": "integer|null",
    # verl/utils/dataset/rl_dataset.py takes one file or a list of them.
    "data.train_files": "array|string",
    "data.val_files": "array|null|string",
    "data.seed": "integer|null",
    "data.tokenizer": "null|string",
    "data.gen_batch_size": "integer|null",
    "data.val_batch_size": "integer|null",
    "data.custom_cls.path": "null|string",
    "data.custom_cls.name": "null|string",
    "data.tool_config_path": "null|string",
    "data.function_tool_path": "null|string",
    "reward.custom_reward_function.path": "null|string",
    # verl/workers/engine_workers.py takes it out of the section as it is.
    f"{_REF}.log_prob_micro_batch_size": "integer|null",
    f"{_REF}.log_prob_micro_batch_size_per_gpu": "integer|null",
    # verl/workers/config/model.py: "allow both 'all-linear' and ['q_proj', 'k_proj']"; peft takes lists.
    "actor_rollout_ref.model.target_modules": "array|null|string",
    "actor_rollout_ref.model.exclude_modules": "array|null|string",
    "actor_rollout_ref.model.external_lib": "array|null|string",
    "actor_rollout_ref.model.lora.dtype": "null|string",
    "actor_rollout_ref.model.lora.adapter_path": "null|string",
    # verl/trainer/ppo/rollout_corr_helper.py
    "algorithm.rollout_correction.rollout_is": "null|string",
    "algorithm.rollout_correction.rollout_rs": "null|string",
    "algorithm.rollout_correction.rollout_rs_threshold": "null|number|string",
    "global_profiler.steps": "array|null",
}
"""Types known from verl's code, where neither the default nor a class of the tree tells them all."""
