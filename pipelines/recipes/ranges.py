"""What verl's code takes beyond a key's type: words it compares with, and numbers that make sense."""

from collections.abc import Mapping
from typing import Final

SAVE_PARTS: Final = ("model", "optimizer", "extra", "hf_model")
EVERY_EPOCH: Final = "after_each_epoch"

WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    # verl/trainer/sft_trainer.py
    "trainer.save_freq": (EVERY_EPOCH,),
    "trainer.test_freq": (EVERY_EPOCH,),
    # verl/utils/dataset/multiturn_sft_dataset.py asserts both.
    "data.truncation": ("error", "left", "right"),
    "data.pad_mode": ("right", "no_padding"),
    # verl/workers/config/engine.py and optimizer.py assert both.
    "engine.strategy": ("fsdp", "fsdp2", "fsdp_turbo"),
    "optim.lr_scheduler_type": ("constant", "cosine"),
    # verl/utils/checkpoint/checkpoint_manager.py
    "checkpoint.save_contents": SAVE_PARTS,
    "checkpoint.load_contents": SAVE_PARTS,
}
"""key -> the texts it (or each of its list's items) may be."""

AT_LEAST: Final[Mapping[str, int | float]] = {
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

NOT_ZERO: Final = frozenset({"trainer.save_freq", "trainer.test_freq", "engine.fsdp_size"})
"""-1 switches them off (or means all); verl divides by them."""

LENGTHS: Final[Mapping[str, int]] = {"optim.betas": 2, "trainer.profile_interval": 2}
"""Lists of a fixed length."""
