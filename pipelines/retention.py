"""Which checkpoints of a training stay. Pure."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """`value` is the metric at its step, None where it was not logged or is no number; `ok`: it can be loaded."""

    attempt: int
    step: int
    ok: bool
    value: float | None = None

    @property
    def age(self) -> tuple[int, int]:
        return (self.step, self.attempt)


def staying(
    found: Iterable[Checkpoint],
    *,
    keep_last: int,
    keep_best: int = 0,
    mode: str = "min",
    needed: Collection[int] = (),
) -> set[Checkpoint]:
    """The newest `keep_last`, the best `keep_best` by value, those of the steps `needed`, and all that cannot be
    loaded: those may still be written, and nobody knows what they are worth. Of equal values the newer is better.

    Whatever is asked, the newest that can be loaded stays: a retry begins there.
    """
    found = list(found)
    good = sorted((one for one in found if one.ok), key=lambda one: one.age, reverse=True)
    known = [one for one in good if one.value is not None and math.isfinite(one.value)]
    sign = 1 if mode == "min" else -1
    best = sorted(known, key=lambda one: sign * (one.value or 0.0))
    return {
        *good[: max(1, keep_last)],
        *best[:keep_best],
        *(one for one in good if one.step in needed),
        *(one for one in found if not one.ok),
    }
