"""Built-in recipes for SFT."""

from typing import Final

from pipelines.recipes.spec import SFT, VERL, gettext_noop

from .arithmetic import ARITHMETIC
from .base import BuiltinRecipe

TINY_SFT: Final = BuiltinRecipe(
    slug="tiny-sft",
    name=gettext_noop("Tiny SFT"),
    description=gettext_noop(
        "Teaches a Llama of a few million parameters, made on the spot, to add. Ends in well under a minute on two "
        "cores."
    ),
    algorithm=SFT,
    trainer=VERL,
    base_model="builtin:tiny-llama",
    dataset=ARITHMETIC.slug,
    params={
        "data.train_batch_size": 16,
        "data.micro_batch_size_per_gpu": 16,
        "data.use_dynamic_bsz": False,
        "data.max_length": 256,
        "data.truncation": "right",
        "data.ignore_input_ids_mismatch": True,
        "model.enable_gradient_checkpointing": False,
        # No flash-attn needed, on a GPU either.
        "model.use_remove_padding": False,
        "model.override_config.attn_implementation": "sdpa",
        "optim.lr": 0.001,
        "trainer.total_epochs": 2,
        "trainer.save_freq": 16,
        "trainer.max_ckpt_to_keep": 2,
    },
)

SMOLLM2_SFT: Final = BuiltinRecipe(
    slug="smollm2-sft",
    name=gettext_noop("SmolLM2 SFT"),
    description=gettext_noop(
        "Teaches SmolLM2-135M to work out sums in one sentence. Some minutes and 5 GB of memory on two cores."
    ),
    algorithm=SFT,
    trainer=VERL,
    base_model="builtin:smollm2-135m",
    dataset=ARITHMETIC.slug,
    params={
        **TINY_SFT.params,
        "data.train_batch_size": 8,
        "data.micro_batch_size_per_gpu": 8,
        "data.ignore_input_ids_mismatch": False,
        # More forgets the sums that the model knows already; what it has to learn is the form.
        "optim.lr": 0.00003,
        "optim.lr_scheduler_type": "cosine",
        "optim.lr_warmup_steps_ratio": 0.2,
        "trainer.total_epochs": 1,
        "trainer.total_training_steps": 24,
        "trainer.save_freq": -1,
        "trainer.max_ckpt_to_keep": 1,
    },
)
