"""Rules that compare the mean of the latest values with a level: noise of single steps tells nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from .core import Mark, Point, Rule, Severity, Value
from .statistics import Ema


@dataclass(frozen=True)
class LevelState:
    mean: float = 0.0
    variance: float = 0.0
    count: int = 0


class LevelRule(Rule):
    """Marks each step at which the moving mean over `window` points lies above `warning`, or reaches `error`.

    Nothing is said before `window` points. `reaches` makes the warning begin at its limit rather than above it.
    """

    reaches: ClassVar[bool] = False

    def begin(self) -> LevelState:
        return LevelState()

    def read(
        self, state: LevelState, points: Sequence[Point], limits: Mapping[str, float]
    ) -> tuple[LevelState, list[Mark]]:
        ema = Ema(state.mean, state.variance, state.count)
        window, warning = limits["window"], limits["warning"]
        error = limits.get("error", math.inf)
        weight = 1 - 1 / window
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            ema = ema.add(value, weight)
            if ema.count < window:
                continue
            if ema.mean >= error:
                marks.append(Mark(point.step, Severity.ERROR, ema.mean, error))
            elif ema.mean > warning or (self.reaches and ema.mean == warning):
                marks.append(Mark(point.step, Severity.WARNING, ema.mean, warning))
        return LevelState(ema.mean, ema.variance, ema.count), marks


LARGEST: Final = 1e100
"""Beyond it squares would not be finite any more, and no state could be kept."""


def number(value: Value | None) -> float | None:
    """A finite number of a size that can be reckoned with; None for what is none: those are another rule's."""
    if value is None or isinstance(value, str):
        return None
    return max(-LARGEST, min(float(value), LARGEST))
