"""Rewards by rule for training on prompts. Pure; standard library only, but for a search with a time limit.

verl loads `compute_score` by the configuration's `reward.custom_reward_function` and calls it once a response with the
settings of its `reward_kwargs`: the weight of each function by name, and options. What weighs 0 is not computed.
"""

import functools
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from platform_runtime.answers import last_number

MODULE: Final = "pkg://platform_runtime.rewards"
FUNCTION: Final = "compute_score"

logger = logging.getLogger(__name__)

SEARCH_LIMIT_S: Final = 0.1
"""A pattern that tries every way to part a text (`(a+)+$`) would otherwise hold the training for years."""

MARK: Final = "####"
"""What follows the last of these is the answer, where there is one."""


class RewardError(ValueError):
    """Settings that no reward can be computed with. `key` is the setting, `why` what is wrong with it."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key = key
        self.why = why


@dataclass(frozen=True)
class Settings:
    """Weights, any number each, and options.

    `format_pattern`: a regular expression, searched for anywhere in the response. `length_free`: so many characters
    cost nothing; from there to `length_limit` the penalty grows to 1.
    """

    exact_match: float = 1.0
    format: float = 0.0
    length: float = 0.0
    digits: float = 0.0
    format_pattern: str = MARK + r"\s*-?[\d.,]*\d"
    length_free: int = 400
    length_limit: int = 800

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Raises RewardError."""
        known = {field.name for field in fields(cls)}
        for key, value in options.items():
            if key not in known:
                raise RewardError(key, f"unknown; there is {', '.join(sorted(known))}")
            _check(key, value)
        settings = cls(**options)
        if settings.length_limit <= settings.length_free:
            raise RewardError("length_limit", "must be larger than length_free")
        return settings


def exact_match(response: str, answer: str, _: Settings) -> float:
    """1 when the response's answer is the row's, else 0. Where that is a number, the last number counts."""
    said = response.rpartition(MARK)[2]
    if is_number(answer):
        return float(last_number(said) == last_number(answer))
    return float(normalised(said) == normalised(answer) != "")


def has_format(response: str, _: str, settings: Settings) -> float:
    """1 when the pattern is found in the response, else 0, also where the search takes longer than SEARCH_LIMIT_S."""
    # The standard library's search cannot be interrupted in a thread, where verl calls this. Of the
    # training side alone: the platform only compiles patterns.
    import regex  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        return float(regex.search(settings.format_pattern, response, timeout=SEARCH_LIMIT_S) is not None)
    except TimeoutError:
        _tell_slow(settings.format_pattern)
        return 0.0


@functools.cache
def _tell_slow(pattern: str) -> None:
    """Once a process: it may happen with each of thousands of answers."""
    logger.warning(
        "format_pattern %r takes longer than %s s on some answers: they count as not having the form.",
        pattern,
        SEARCH_LIMIT_S,
    )


def length_penalty(response: str, _: str, settings: Settings) -> float:
    """0 for a response that is short enough, down to -1 for one of `length_limit` characters and more."""
    over = (len(response) - settings.length_free) / (settings.length_limit - settings.length_free)
    return -min(1.0, max(0.0, over))


def digit_share(response: str, _: str, __: Settings) -> float:
    """How much of the response is digits, 0 to 1: something to be learned by a model that knows nothing."""
    return sum(character in "0123456789" for character in response) / len(response) if response else 0.0


FUNCTIONS: Final[Mapping[str, Callable[[str, str, Settings], float]]] = {
    "exact_match": exact_match,
    "format": has_format,
    "length": length_penalty,
    "digits": digit_share,
}
"""name -> function of response, answer and settings."""


def score(response: str, answer: str, settings: Settings) -> dict[str, float]:
    """`score`, the weighted sum, and beside it what each function with a weight gave."""
    weights = {name: getattr(settings, name) for name in FUNCTIONS}
    parts = {name: FUNCTIONS[name](response, answer, settings) for name, weight in weights.items() if weight}
    return {"score": sum(weights[name] * part for name, part in parts.items()), **parts}


def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None, **options: Any
) -> dict[str, float]:
    """What verl calls (verl/experimental/reward_loop/reward_manager/naive.py)."""
    return score(solution_str, "" if ground_truth is None else str(ground_truth), Settings.of(options))


def is_number(answer: str) -> bool:
    return re.fullmatch(r"\s*[-+]?[\d,]*\.?\d+\s*", answer, re.ASCII) is not None


def normalised(answer: str) -> str:
    """Without case, quotes, a full stop at the end, and with single spaces."""
    return " ".join(answer.casefold().split()).strip(" .\"'`")


def _check(key: str, value: Any) -> None:
    if key == "format_pattern":
        if not isinstance(value, str):
            raise RewardError(key, "a regular expression was expected")
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise RewardError(key, f"no regular expression: {error}") from error
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RewardError(key, "a number was expected")
    if key not in FUNCTIONS and (not isinstance(value, int) or value < 0):
        raise RewardError(key, "a whole number of characters was expected")
