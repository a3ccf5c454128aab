"""What every installation starts with: recipes that train for real on two cores, and their data."""

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from .spec import EVAL, SFT, VERL, Json, RecipeSpec, gettext_noop

ROWS: Final = 384
ITEMS: Final = 60
_LARGEST: Final = 50


@dataclass(frozen=True)
class BuiltinDataset:
    """A dataset made by code. `content` gives its bytes, the same on every machine."""

    slug: str
    name: str
    kind: str
    description: str


@dataclass(frozen=True)
class BuiltinRecipe:
    """A recipe that ships with the platform."""

    slug: str
    name: str
    description: str
    algorithm: str
    trainer: str
    base_model: str
    dataset: str
    params: dict[str, Json]

    @property
    def spec(self) -> RecipeSpec:
        return RecipeSpec(self.slug, self.algorithm, self.trainer, self.base_model, self.params)


ARITHMETIC: Final = BuiltinDataset(
    slug="arithmetic",
    name=gettext_noop("Arithmetic"),
    kind=SFT,
    description=gettext_noop("Sums of two numbers up to 50, each worked out in one sentence."),
)

ARITHMETIC_EVAL: Final = BuiltinDataset(
    slug="arithmetic-eval",
    name=gettext_noop("Arithmetic, to evaluate"),
    kind=EVAL,
    description=gettext_noop("Sums of two numbers up to 50 that are not in the training data. Take the last number."),
)

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

RECIPES: Final = (TINY_SFT, SMOLLM2_SFT)
DATASETS: Final = (ARITHMETIC, ARITHMETIC_EVAL)


def content(dataset: BuiltinDataset) -> bytes:
    """The JSONL of a built-in dataset, one conversation or one item a line."""
    pairs = [(a, b) for a in range(1, _LARGEST + 1) for b in range(1, _LARGEST + 1)]
    # An order that looks random and is the same everywhere.
    pairs.sort(key=lambda pair: hashlib.sha256(b"%d+%d" % pair).digest())
    if dataset == ARITHMETIC:
        return b"".join(_conversation(a, b) for a, b in pairs[:ROWS])
    if dataset == ARITHMETIC_EVAL:
        return b"".join(_item(a, b) for a, b in pairs[ROWS : ROWS + ITEMS])
    raise LookupError(dataset.slug)


def _question(a: int, b: int) -> str:
    return f"What is {a} plus {b}? Think step by step and answer after ####."


def _conversation(a: int, b: int) -> bytes:
    messages = [
        {"role": "user", "content": _question(a, b)},
        {"role": "assistant", "content": f"Starting from {a}, adding {b} gives {a + b}. #### {a + b}"},
    ]
    return json.dumps({"messages": messages}).encode() + b"\n"


def _item(a: int, b: int) -> bytes:
    return json.dumps({"question": _question(a, b), "answer": str(a + b)}).encode() + b"\n"
