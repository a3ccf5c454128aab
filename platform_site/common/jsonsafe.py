"""JSON that every parser takes: the numbers it lacks become the strings "NaN", "Infinity", "-Infinity"."""

import math
from collections.abc import Mapping
from typing import Any


def spelled(number: float) -> float | str:
    """A finite number as it is, another as its name."""
    if math.isfinite(number):
        return number
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def finite(value: Any) -> Any:
    """The same structure with every non-finite float spelled out. Tuples become lists, keys become text."""
    if isinstance(value, float):
        return spelled(value)
    if isinstance(value, Mapping):
        return {_key(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _key(key: Any) -> Any:
    return str(spelled(key)) if isinstance(key, float) else key
