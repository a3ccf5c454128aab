"""The reward had risen, and falls back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Ema


@dataclass(frozen=True)
class State:
    """A moving mean; its smallest value ever (`floor`) and before its best (`lowest`); for how many points it has
    been low; the last value and the mean step from one value to the next, which is noise and no trend."""

    mean: float = 0.0
    count: int = 0
    last: float = 0.0
    jitter: float = 0.0
    floor: float | None = None
    lowest: float | None = None
    best: float | None = None
    low_for: int = 0


class RewardCollapse(Rule):
    name: ClassVar = "reward_collapse"
    title: ClassVar = gettext_noop("Reward collapse")
    why: ClassVar = gettext_noop("The model has lost what it had learned; it seldom finds back by itself.")
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s fell from %(best)s to %(value)s, by more than half of its range.")
    }
    advice: ClassVar = (
        Advice(gettext_noop("Go back to the best checkpoint, with a smaller learning rate."),
               "learning_rate", times=0.3),
        Advice(gettext_noop("Hold the model to its reference."), "kl_loss", to=True),
    )  # fmt: skip
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = ("critic/rewards/mean", "critic/score/mean", "reward", "train/reward")
    limits: ClassVar = {"share": 0.5, "held": 10, "window": 10, "noise": 3.0}

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        ema, last = Ema(state.mean, 0.0, state.count), state.last
        jitter = Ema(state.jitter, 0.0, max(0, state.count - 1))
        floor, lowest, best = _or(state.floor, math.inf), _or(state.lowest, math.inf), _or(state.best, -math.inf)
        low_for, window = state.low_for, limits["window"]
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            if ema.count:
                jitter = jitter.add(abs(value - last), 0.97)
            ema, last = ema.add(value, 1 - 1 / window), value
            if ema.count < window:
                continue
            floor = min(floor, ema.mean)
            # What it falls to after its best is no part of the range it had.
            if ema.mean > best:
                best, lowest, low_for = ema.mean, floor, 0
            reach = best - lowest
            # A range that is mere noise cannot be lost.
            if reach <= limits["noise"] * jitter.mean or best - ema.mean <= limits["share"] * reach:
                low_for = 0
                continue
            low_for += 1
            if low_for >= limits["held"]:
                told = {"best": float(f"{best:.4g}")}
                marks.append(Mark(point.step, Severity.ERROR, ema.mean, best - limits["share"] * reach, params=told))
        return State(
            ema.mean, ema.count, last, jitter.mean, _finite(floor), _finite(lowest), _finite(best), low_for
        ), marks


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


RULE: Final = RewardCollapse()
