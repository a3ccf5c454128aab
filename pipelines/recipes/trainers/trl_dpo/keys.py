"""The settings of TRL's DPO trainer that a recipe may name, with TRL's own types and defaults.

A part of `DPOConfig` (trl/trainer/dpo_config.py and transformers/training_args.py) at the top, and of `ModelConfig`
(trl/trainer/model_config.py) in `model`. TRL and transformers are not installed where recipes are checked: a test holds
these against the real classes. What is left out reports, uploads, shards or validates: the platform does it, or nobody.
"""

from collections.abc import Mapping
from typing import Final

from pipelines.recipes.spec import Json, gettext_noop

LEAVES: Final[Mapping[str, tuple[str, Json]]] = {
    "beta": ("number", 0.1),
    "loss_type": ("array", ["sigmoid"]),
    "loss_weights": ("array|null", None),
    "label_smoothing": ("number", 0.0),
    "f_divergence_type": ("string", "reverse_kl"),
    "f_alpha_divergence_coef": ("number", 0.5),
    "discopop_tau": ("number", 0.05),
    "ld_alpha": ("null|number", None),
    "use_weighting": ("boolean", False),
    "precompute_ref_log_probs": ("boolean", False),
    "precompute_ref_batch_size": ("integer|null", None),
    "sync_ref_model": ("boolean", False),
    "ref_model_mixup_alpha": ("number", 0.6),
    "ref_model_sync_steps": ("integer", 512),
    "router_aux_loss_coef": ("null|number", None),
    "disable_dropout": ("boolean", True),
    "max_length": ("integer|null", 1024),
    "pad_to_multiple_of": ("integer|null|string", "auto"),
    "dataset_num_proc": ("integer|null", None),
    "num_train_epochs": ("number", 3.0),
    "max_steps": ("integer", -1),
    "per_device_train_batch_size": ("integer", 8),
    "gradient_accumulation_steps": ("integer", 1),
    "auto_find_batch_size": ("boolean", False),
    "learning_rate": ("number", 1e-6),
    "lr_scheduler_type": ("string", "linear"),
    "lr_scheduler_kwargs": ("null|object", None),
    "warmup_steps": ("number", 0),
    "optim": ("string", "adamw_torch_fused"),
    "weight_decay": ("number", 0.0),
    "adam_beta1": ("number", 0.9),
    "adam_beta2": ("number", 0.999),
    "adam_epsilon": ("number", 1e-8),
    "max_grad_norm": ("number", 1.0),
    "bf16": ("boolean|null", None),
    "fp16": ("boolean", False),
    "tf32": ("boolean|null", None),
    "gradient_checkpointing": ("boolean", True),
    "activation_offloading": ("boolean", False),
    "torch_compile": ("boolean", False),
    "torch_empty_cache_steps": ("integer|null", None),
    "seed": ("integer", 42),
    "data_seed": ("integer|null", None),
    "full_determinism": ("boolean", False),
    "dataloader_drop_last": ("boolean", False),
    "dataloader_num_workers": ("integer", 0),
    "dataloader_pin_memory": ("boolean", True),
    "train_sampling_strategy": ("string", "random"),
    "ddp_find_unused_parameters": ("boolean|null", None),
    "ddp_timeout": ("integer", 1800),
    "save_strategy": ("string", "steps"),
    "save_steps": ("number", 500),
    "save_total_limit": ("integer|null", None),
    "trust_remote_code": ("boolean", False),
    "output_dir": ("null|string", None),
    "resume_from_checkpoint": ("null|string", None),
    "logging_steps": ("number", 10),
    "logging_nan_inf_filter": ("boolean", True),
    "disable_tqdm": ("boolean|null", None),
    "report_to": ("array|null|string", "none"),
    "use_cpu": ("boolean", False),
    "model.dtype": ("null|string", "float32"),
    "model.attn_implementation": ("null|string", None),
    "model.use_peft": ("boolean", False),
    "model.lora_r": ("integer", 16),
    "model.lora_alpha": ("integer", 32),
    "model.lora_dropout": ("number", 0.05),
    "model.lora_target_modules": ("array|null", None),
    "model.lora_modules_to_save": ("array|null", None),
    "model.use_rslora": ("boolean", False),
    "model.use_dora": ("boolean", False),
}
"""key -> type and default, as Leaf has them."""

ITEMS: Final[Mapping[str, str]] = {
    "loss_weights": "number",
    "model.lora_target_modules": "string",
    "model.lora_modules_to_save": "string",
}
"""key -> what its list holds, where the default shows none."""

OURS: Final[Mapping[str, tuple[str, Json]]] = {
    "model.path": ("null|string", None),
    "data.train_files": ("null|string", None),
    "data.val_files": ("null|string", None),
}
"""What platform_runtime/trainers/trl_dpo.py takes beside."""

PLATFORM: Final[Mapping[str, str]] = {
    "model.path": gettext_noop("The platform sets it from the recipe's base model: change base_model instead."),
    "data.train_files": gettext_noop("The platform sets it from the dataset: name the dataset instead."),
    "data.val_files": gettext_noop("The platform sets it from the dataset: name the dataset instead."),
    "output_dir": gettext_noop("The platform sets it: every attempt has its own checkpoint folder."),
    "resume_from_checkpoint": gettext_noop("The platform sets it: it resumes a run from the last good checkpoint."),
    "logging_steps": gettext_noop("The platform sets it: it reads every step."),
    "logging_nan_inf_filter": gettext_noop("The platform sets it: it tells of values that are no numbers."),
    "disable_tqdm": gettext_noop("The platform sets it: it shows progress itself."),
    "report_to": gettext_noop("The platform sets it: it reads the metrics itself."),
    "use_cpu": gettext_noop("The platform sets it from the host: the CPU where there is no GPU."),
}
"""key -> who sets it."""

ADMIN: Final[Mapping[str, str]] = {
    "trust_remote_code": gettext_noop(
        "Only an administrator may set it: it lets the model's files run their own code on the host."
    ),
    # transformers fetches kernels by name from the Hub, and runs them.
    "model.attn_implementation": gettext_noop(
        "Only an administrator may set it to other values than these: it may name code to be run on the host."
    ),
}
ATTENTION: Final = ("sdpa", "eager", "flash_attention_2", "flash_attention_3")
HARMLESS: Final = {"model.attn_implementation": frozenset(ATTENTION)}

WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    # trl/trainer/dpo_trainer.py
    "loss_type": (
        "sigmoid",
        "sigmoid_norm",
        "robust",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sft",
    ),
    "f_divergence_type": ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"),
    "pad_to_multiple_of": ("auto",),
    # transformers/trainer_utils.py; those that need no further settings.
    "lr_scheduler_type": (
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
    ),
    "save_strategy": ("no", "steps", "epoch"),
    # transformers/training_args.py; those that need no further package.
    "optim": ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"),
    "train_sampling_strategy": ("random", "sequential"),
    "model.dtype": ("auto", "bfloat16", "float16", "float32"),
}

AT_LEAST: Final[Mapping[str, int | float]] = {
    "beta": 0.0,
    "label_smoothing": 0.0,
    "discopop_tau": 0.0,
    "ld_alpha": 0.0,
    "precompute_ref_batch_size": 1,
    "ref_model_mixup_alpha": 0.0,
    "ref_model_sync_steps": 1,
    "max_length": 1,
    "dataset_num_proc": 1,
    "num_train_epochs": 0.0,
    "max_steps": -1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 0.0,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 0.0,
    "dataloader_num_workers": 0,
    "torch_empty_cache_steps": 1,
    "ddp_timeout": 1,
    "save_steps": 0.0,
    "save_total_limit": 1,
    "seed": 0,
    "data_seed": 0,
    "model.lora_r": 1,
    "model.lora_dropout": 0.0,
}
AT_MOST: Final[Mapping[str, int | float]] = {
    "label_smoothing": 0.5,
    "ld_alpha": 1.0,
    "ref_model_mixup_alpha": 1.0,
    "model.lora_dropout": 0.99,
}
NOT_ZERO: Final = frozenset({"max_steps"})

IN_CHECKPOINT: Final = (
    # transformers always takes the optimizer's and the schedule's state as well, and skips as many batches.
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_",
    "warmup_steps",
    "optim",
    "weight_decay",
    "adam_",
    "seed",
    "data_seed",
    "train_sampling_strategy",
    "dataloader_drop_last",
    "model.",
)
"""Beginnings of settings that a run shares with the one whose checkpoint it begins from."""

CPU: Final[Mapping[str, Json]] = {
    # Processors are slow at half precision, and have none of the others.
    "bf16": False,
    "fp16": False,
    "tf32": None,
    "model.dtype": "float32",
    # flash-attn is for GPUs only; compiling takes longer than a small run.
    "model.attn_implementation": "sdpa",
    "torch_compile": False,
    # Loader processes would take the cores that train; pinning is for copies to a GPU.
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": False,
}
