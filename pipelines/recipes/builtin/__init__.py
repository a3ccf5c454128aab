"""What every installation starts with: recipes that train for real on two cores, and their data."""

from typing import Final

from .arithmetic import ARITHMETIC, ARITHMETIC_EVAL, ITEMS, ROWS
from .base import BuiltinDataset, BuiltinRecipe
from .sft import SMOLLM2_SFT, TINY_SFT

__all__ = [
    "ARITHMETIC",
    "ARITHMETIC_EVAL",
    "DATASETS",
    "ITEMS",
    "RECIPES",
    "ROWS",
    "SMOLLM2_SFT",
    "TINY_SFT",
    "BuiltinDataset",
    "BuiltinRecipe",
]

RECIPES: Final = (TINY_SFT, SMOLLM2_SFT)
DATASETS: Final = (ARITHMETIC, ARITHMETIC_EVAL)
