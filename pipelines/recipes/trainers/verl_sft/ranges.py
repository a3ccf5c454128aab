"""What verl's code takes beyond a key's type: words it compares with, and numbers that make sense."""

from collections.abc import Mapping
from typing import Final

SAVE_PARTS: Final = ("model", "optimizer", "extra", "hf_model")
EVERY_EPOCH: Final = "after_each_epoch"

_PROFILER: Final = "profiler.tool_config"
"""verl/utils/profiler/config.py asserts what these may be, whether a run is profiled or not."""

WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    f"{_PROFILER}.npu.contents": ("npu", "cpu", "memory", "shapes", "module", "stack"),
    f"{_PROFILER}.npu.level": ("level_none", "level0", "level1", "level2"),
    f"{_PROFILER}.torch.contents": ("cuda", "cpu", "memory", "shapes", "stack"),
    # verl/trainer/sft_trainer.py
    "trainer.save_freq": (EVERY_EPOCH,),
    # verl/utils/dataset/multiturn_sft_dataset.py asserts both.
    "data.truncation": ("error", "left", "right"),
    "data.pad_mode": ("right", "no_padding"),
    # verl/workers/config/engine.py and optimizer.py assert both.
    "engine.strategy": ("fsdp", "fsdp2", "fsdp_turbo"),
    "optim.lr_scheduler_type": ("constant", "cosine"),
    "optim.warmup_style": ("constant", "cosine"),
    # verl/utils/checkpoint/checkpoint_manager.py
    "checkpoint.save_contents": SAVE_PARTS,
    "checkpoint.load_contents": SAVE_PARTS,
}
"""key -> the texts it (or each of its list's items) may be."""

AT_LEAST: Final[Mapping[str, int | float]] = {
    **dict.fromkeys(
        (f"{_PROFILER}.{tool}.profile_token_{end}" for tool in ("npu", "torch") for end in ("start", "end")), 0
    ),
    **dict.fromkeys(
        (f"{_PROFILER}.torch.schedule.{name}" for name in ("skip_first", "wait", "warmup", "active", "repeat")), 0
    ),
    **dict.fromkeys(
        (
            f"{_PROFILER}.torch_memory.{name}"
            for name in ("trace_alloc_max_entries", "stack_depth", "memory_snapshot_num_steps")
        ),
        1,
    ),
    "data.train_batch_size": 1,
    "data.micro_batch_size_per_gpu": 1,
    "data.max_token_len_per_gpu": 1,
    "data.max_length": 1,
    "data.num_workers": 0,
    "engine.ulysses_sequence_parallel_size": 1,
    "model.lora_rank": 0,
    "model.tiled_mlp.num_shards": 1,
    "optim.lr": 0.0,
    "optim.weight_decay": 0.0,
    "optim.clip_grad": 0.0,
    "optim.lr_warmup_steps_ratio": 0.0,
    "optim.min_lr_ratio": 0.0,
    "trainer.total_epochs": 1,
    "trainer.total_training_steps": 1,
    "trainer.max_ckpt_to_keep": 1,
}

AT_MOST: Final[Mapping[str, int | float]] = {
    "optim.lr_warmup_steps_ratio": 1.0,
    "optim.min_lr_ratio": 1.0,
}

NOT_ZERO: Final = frozenset({"trainer.save_freq", "engine.fsdp_size"})
"""-1 switches them off (or means all); verl divides by them."""

LENGTHS: Final[Mapping[str, int]] = {"optim.betas": 2, "trainer.profile_interval": 2}
"""Lists of a fixed length."""

TYPES: Final[Mapping[str, str]] = {
    # verl/trainer/sft_trainer.py compares it with "after_each_epoch", and counts steps up to the third.
    "trainer.save_freq": "integer|string",
    "trainer.total_training_steps": "integer|null",
    # verl/utils/checkpoint/checkpoint_manager.py: "max_ckpt_to_keep and isinstance(max_ckpt_to_keep, int)".
    "trainer.max_ckpt_to_keep": "integer|null",
    "trainer.default_hdfs_dir": "null|string",
    "trainer.resume_from_path": "null|string",
    # verl/utils/dataset/multiturn_sft_dataset.py takes one file or a list of them.
    "data.train_files": "array|string",
    "data.val_files": "array|null|string",
    "data.custom_cls.path": "null|string",
    "data.custom_cls.name": "null|string",
    # verl/workers/config/model.py: "allow both 'all-linear' and ['q_proj', 'k_proj']"; peft takes lists.
    "model.target_modules": "array|null|string",
    "model.exclude_modules": "array|null|string",
    "model.external_lib": "array|null|string",
    "model.lora.dtype": "null|string",
    "model.lora.adapter_path": "null|string",
}
"""Types known from verl's code, where neither the default nor a class of the tree tells them all."""
