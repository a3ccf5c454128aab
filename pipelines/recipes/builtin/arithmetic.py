"""Sums of two numbers, as data to learn from and to be asked. No sum stands in two of the sets."""

import functools
import hashlib
import json
from collections.abc import Iterator
from typing import Final

from pipelines.recipes.spec import EVAL, PREFERENCE, SFT, gettext_noop

from .base import BuiltinDataset

ROWS: Final = 384
ITEMS: Final = 60
PROMPTS: Final = 128
_LARGEST: Final = 50


@functools.cache
def pairs() -> tuple[tuple[int, int], ...]:
    """All the pairs, in an order that looks random and is the same everywhere."""
    found = [(a, b) for a in range(1, _LARGEST + 1) for b in range(1, _LARGEST + 1)]
    return tuple(sorted(found, key=lambda pair: hashlib.sha256(b"%d+%d" % pair).digest()))


def question(a: int, b: int) -> str:
    return f"What is {a} plus {b}? Think step by step and answer after ####."


def answer(a: int, b: int, said: int) -> str:
    return f"Starting from {a}, adding {b} gives {said}. #### {said}"


def lines(rows: Iterator[object]) -> bytes:
    """JSONL."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _conversations() -> bytes:
    return lines(
        {
            "messages": [
                {"role": "user", "content": question(a, b)},
                {"role": "assistant", "content": answer(a, b, a + b)},
            ]
        }
        for a, b in pairs()[:ROWS]
    )


def _preferences() -> bytes:
    return lines(
        {
            "prompt": [{"role": "user", "content": question(a, b)}],
            "chosen": [{"role": "assistant", "content": answer(a, b, a + b)}],
            "rejected": [{"role": "assistant", "content": _guess(a, b)}],
        }
        for a, b in pairs()[:ROWS]
    )


def _guess(a: int, b: int) -> str:
    """Wrong, and nothing is worked out."""
    wrong = a + b + 1 + (7 * a + 3 * b) % 9
    return f"I would guess that it is about {wrong}. #### {wrong}"


def _items() -> bytes:
    return lines({"question": question(a, b), "answer": str(a + b)} for a, b in pairs()[ROWS : ROWS + ITEMS])


ARITHMETIC: Final = BuiltinDataset(
    slug="arithmetic",
    name=gettext_noop("Arithmetic"),
    kind=SFT,
    description=gettext_noop("Sums of two numbers up to 50, each worked out in one sentence."),
    content=_conversations,
)

ARITHMETIC_PAIRS: Final = BuiltinDataset(
    slug="arithmetic-pairs",
    name=gettext_noop("Arithmetic, right and wrong"),
    kind=PREFERENCE,
    description=gettext_noop("Sums of two numbers up to 50: worked out and right is preferred to guessed and wrong."),
    content=_preferences,
)

ARITHMETIC_EVAL: Final = BuiltinDataset(
    slug="arithmetic-eval",
    name=gettext_noop("Arithmetic, to evaluate"),
    kind=EVAL,
    description=gettext_noop("Sums of two numbers up to 50 that are not in the training data. Take the last number."),
    content=_items,
)


def _prompts() -> bytes:
    # Short answers: a model that thinks aloud would be cut off before it gets anything right.
    return lines(
        {"prompt": f"What is {a} plus {b}? Answer with the number only.", "answer": str(a + b)}
        for a, b in pairs()[ROWS + ITEMS : ROWS + ITEMS + PROMPTS]
    )


ARITHMETIC_PROMPTS: Final = BuiltinDataset(
    slug="arithmetic-prompts",
    name=gettext_noop("Arithmetic, to be answered"),
    kind="prompts",
    description=gettext_noop("Sums of two numbers up to 50 with their answers, for training by reward."),
    content=_prompts,
)
