"""What every installation starts with: recipes that train for real on two cores, and their data."""

from typing import Final

from .arithmetic import ARITHMETIC, ARITHMETIC_EVAL, ARITHMETIC_PAIRS, ARITHMETIC_PROMPTS, ITEMS, ROWS
from .base import BuiltinDataset, BuiltinRecipe
from .dpo import SMOLLM2_DPO, TINY_DPO, TINY_DPO_TRL
from .grpo import SMOLLM2_GRPO, TINY_GRPO
from .qwen import QWEN
from .sft import SMOLLM2_SFT, TINY_SFT

__all__ = [
    "ARITHMETIC",
    "ARITHMETIC_EVAL",
    "ARITHMETIC_PAIRS",
    "ARITHMETIC_PROMPTS",
    "DATASETS",
    "ITEMS",
    "ON_CPU",
    "QWEN",
    "RECIPES",
    "ROWS",
    "SMOLLM2_DPO",
    "SMOLLM2_GRPO",
    "SMOLLM2_SFT",
    "TINY_DPO",
    "TINY_DPO_TRL",
    "TINY_GRPO",
    "TINY_SFT",
    "BuiltinDataset",
    "BuiltinRecipe",
]

ON_CPU: Final = (TINY_SFT, SMOLLM2_SFT, TINY_DPO, TINY_DPO_TRL, SMOLLM2_DPO, TINY_GRPO, SMOLLM2_GRPO)
"""Two cores are enough for them. They come with their data."""
RECIPES: Final = (*ON_CPU, *QWEN)
DATASETS: Final = (ARITHMETIC, ARITHMETIC_PAIRS, ARITHMETIC_PROMPTS, ARITHMETIC_EVAL)
