"""Built-in recipes for DPO."""

from typing import Final

from pipelines.recipes.spec import DPO, TRL, VERL, gettext_noop

from .arithmetic import ARITHMETIC_PAIRS
from .base import BuiltinRecipe

TINY_DPO: Final = BuiltinRecipe(
    slug="tiny-dpo",
    name=gettext_noop("Tiny DPO"),
    description=gettext_noop(
        "Teaches a Llama of a few million parameters, made on the spot, to prefer sums worked out to sums guessed. "
        "Ends in well under a minute on two cores."
    ),
    algorithm=DPO,
    trainer=VERL,
    base_model="builtin:tiny-llama",
    dataset=ARITHMETIC_PAIRS.slug,
    params={
        "dpo.beta": 0.1,
        "data.train_batch_size": 8,
        "data.micro_batch_size_per_gpu": 8,
        "data.use_dynamic_bsz": False,
        "data.max_length": 256,
        "data.truncation": "right",
        "model.enable_gradient_checkpointing": False,
        # No flash-attn needed, on a GPU either.
        "model.use_remove_padding": False,
        "model.override_config.attn_implementation": "sdpa",
        "optim.lr": 0.00002,
        "trainer.total_training_steps": 24,
        "trainer.save_freq": 8,
        "trainer.max_ckpt_to_keep": 2,
    },
)

TINY_DPO_TRL: Final = BuiltinRecipe(
    slug="tiny-dpo-trl",
    name=gettext_noop("Tiny DPO with TRL"),
    description=gettext_noop("What tiny-dpo does, by TRL's trainer: the two can be laid side by side."),
    algorithm=DPO,
    trainer=TRL,
    base_model="builtin:tiny-llama",
    dataset=ARITHMETIC_PAIRS.slug,
    params={
        "beta": 0.1,
        "per_device_train_batch_size": 8,
        "max_length": 256,
        "gradient_checkpointing": False,
        "learning_rate": 0.00002,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "max_steps": 24,
        "save_steps": 8,
        "save_total_limit": 2,
    },
)

SMOLLM2_DPO: Final = BuiltinRecipe(
    slug="smollm2-dpo",
    name=gettext_noop("SmolLM2 DPO"),
    description=gettext_noop(
        "Teaches SmolLM2-135M to prefer sums worked out to sums guessed. Some minutes and 6 GB of memory on two cores."
    ),
    algorithm=DPO,
    trainer=VERL,
    base_model="builtin:smollm2-135m",
    dataset=ARITHMETIC_PAIRS.slug,
    params={
        **TINY_DPO.params,
        "data.train_batch_size": 4,
        "data.micro_batch_size_per_gpu": 4,
        # Five times as much leaves nothing to be learnt after a third of the way: the answers are easily told apart.
        "optim.lr": 0.000001,
        "optim.lr_scheduler_type": "cosine",
        "optim.lr_warmup_steps_ratio": 0.2,
        "trainer.total_training_steps": 64,
        "trainer.save_freq": -1,
        "trainer.max_ckpt_to_keep": 1,
    },
)
