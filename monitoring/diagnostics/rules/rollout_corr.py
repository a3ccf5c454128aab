"""The correction for answers of an older policy has to do too much. Source: verl's page on rollout correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Ema

_WINDOW: Final = 5
KL: Final = "rollout_corr/kl"
MEAN: Final = "rollout_corr/rollout_is_mean"
STD: Final = "rollout_corr/rollout_is_std"
ESS: Final = "rollout_corr/rollout_is_eff_sample_size"


@dataclass(frozen=True)
class State:
    mean: float = 0.0
    variance: float = 0.0
    count: int = 0


class RolloutCorr(Rule):
    name: ClassVar = "rollout_corr"
    title: ClassVar = gettext_noop("Off-policy answers")
    why: ClassVar = gettext_noop("So much weight on few answers means that hardly any of them teach anything.")
    messages: ClassVar = {
        "above": gettext_noop("%(metric)s is %(value)s in the mean, above %(threshold)s."),
        "below": gettext_noop("%(metric)s is %(value)s in the mean, below %(threshold)s."),
    }
    advice: ClassVar = (
        Advice(gettext_noop("Let fewer updates pass between two rounds of answers.")),
        Advice(gettext_noop("Lower the learning rate."), "learning_rate", times=0.5),
    )
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = (KL, MEAN, STD, ESS)
    each: ClassVar = True
    limits: ClassVar = {"kl": 0.1, "mean_low": 0.5, "mean_high": 2.0, "std": 1.0, "ess": 0.3}

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        ema = Ema(state.mean, state.variance, state.count)
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            ema = ema.add(value, 1 - 1 / _WINDOW)
            if ema.count < _WINDOW:
                continue
            found = _judged(point.metric, ema.mean, limits)
            if found is not None:
                code, limit = found
                marks.append(Mark(point.step, Severity.WARNING, ema.mean, limit, code))
        return State(ema.mean, ema.variance, ema.count), marks


def _judged(metric: str, mean: float, limits: Mapping[str, float]) -> tuple[str, float] | None:
    if metric == KL and abs(mean) > limits["kl"]:
        return "above", limits["kl"]
    if metric == MEAN and mean > limits["mean_high"]:
        return "above", limits["mean_high"]
    if metric == MEAN and mean < limits["mean_low"]:
        return "below", limits["mean_low"]
    if metric == STD and mean > limits["std"]:
        return "above", limits["std"]
    if metric == ESS and mean < limits["ess"]:
        return "below", limits["ess"]
    return None


RULE: Final = RolloutCorr()
