"""The answers become all alike. Forecast by R = -a exp(H) + b. Source: verl's entropy page, arXiv 2505.22617."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Learns, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Ema

REWARDS: Final = ("critic/rewards/mean", "critic/score/mean", "reward", "train/reward")
_BASE: Final = 10
"""Points that make up the run's own first value."""


@dataclass(frozen=True)
class Fit:
    """Sums of a straight line through (exp H, R)."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def add(self, entropy: float, reward: float) -> "Fit":
        x = math.exp(min(entropy, 50.0))
        return Fit(self.n + 1, self.x + x, self.y + reward, self.xx + x * x, self.xy + x * reward)

    @property
    def ceiling(self) -> float | None:
        """The reward that is left to reach once the entropy is 0; None where the line does not say."""
        spread = self.n * self.xx - self.x * self.x
        if self.n < 2 * _BASE or spread <= 1e-9 * self.xx:
            return None
        slope = (self.n * self.xy - self.x * self.y) / spread
        return (self.y - slope * self.x) / self.n + slope if slope < 0 else None


@dataclass(frozen=True)
class State:
    base: float = 0.0
    mean: float = 0.0
    variance: float = 0.0
    count: int = 0
    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0


class EntropyCollapse(Rule):
    name: ClassVar = "entropy_collapse"
    title: ClassVar = gettext_noop("Entropy collapse")
    why: ClassVar = gettext_noop(
        "Answers that are all alike leave nothing to compare: the reward stops rising soon after."
    )
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s is down to %(value)s, %(percent)s %% of what it began with (%(base)s)."),
        "forecast": gettext_noop(
            "%(metric)s is down to %(value)s, %(percent)s %% of what it began with (%(base)s). At this rate the reward "
            "ends near %(ceiling)s."
        ),
    }
    advice: ClassVar = (
        Advice(gettext_noop("Reward variety a little."), "entropy_coefficient", to=0.001),
        Advice(gettext_noop("Answer at a higher temperature."), "temperature", to=1.0),
        Advice(gettext_noop("Lower the learning rate."), "learning_rate", times=0.3),
    )
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = ("actor/entropy", "actor/entropy_loss", "entropy", "train/entropy")
    limits: ClassVar = {"warning": 0.2, "error": 0.05, "least": 0.05}
    learns: ClassVar = Learns("warning", least=0.05, most=0.4, below=True, along=("error",))

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        ema = Ema(state.mean, state.variance, state.count)
        base, fit = state.base, Fit(state.n, state.x, state.y, state.xx, state.xy)
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            reward = next((found for name in REWARDS if (found := number(point.values.get(name))) is not None), None)
            if reward is not None:
                fit = fit.add(value, reward)
            ema = ema.add(value, 0.8)
            if ema.count <= _BASE:
                base += value / _BASE
                continue
            # A model that was sure of itself from the start has lost nothing.
            if base < limits["least"]:
                continue
            share = ema.mean / base
            if share < limits["warning"]:
                severity, limit = Severity.WARNING, limits["warning"]
                if share < limits["error"]:
                    severity, limit = Severity.ERROR, limits["error"]
                told = {"percent": round(100 * share), "base": float(f"{base:.3g}")}
                if (ceiling := fit.ceiling) is not None:
                    told["ceiling"] = float(f"{ceiling:.3g}")
                code = "forecast" if "ceiling" in told else "message"
                marks.append(Mark(point.step, severity, ema.mean, limit * base, code, told))
        after = replace(state, base=base, mean=ema.mean, variance=ema.variance, count=ema.count)
        return replace(after, n=fit.n, x=fit.x, y=fit.y, xx=fit.xx, xy=fit.xy), marks


RULE: Final = EntropyCollapse()
