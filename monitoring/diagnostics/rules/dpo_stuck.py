"""DPO that learns nothing, or everything at once. It starts at log 2 = 0.693; margins of 1 to 10 are healthy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import DPO, Advice, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Ema

START: Final = math.log(2)
MARGINS: Final = ("train/rewards/margins", "rewards/margins")


@dataclass(frozen=True)
class State:
    mean: float = 0.0
    variance: float = 0.0
    margin: float = 0.0
    count: int = 0


class DpoStuck(Rule):
    name: ClassVar = "dpo_stuck"
    title: ClassVar = gettext_noop("DPO does not learn as it should")
    why: ClassVar = gettext_noop("The model should come to prefer the chosen answers: slowly, and not without bounds.")
    messages: ClassVar = {
        "stuck": gettext_noop("%(metric)s is still %(value)s after %(count)s steps; it starts at 0.693."),
        "at_once": gettext_noop(
            "%(metric)s is down to %(value)s after only %(count)s steps: "
            "the answers are too easily told apart, or learnt by heart."
        ),
        "margin": gettext_noop("The margin between chosen and rejected answers is %(margin)s; 1 to 10 is healthy."),
    }
    advice: ClassVar = (
        Advice(gettext_noop("Where it is stuck, raise the learning rate; where it falls at once, lower it."),
               "learning_rate"),
        Advice(gettext_noop("Raise beta, so that the model stays closer to its reference."), "beta", times=3),
        Advice(gettext_noop("See whether chosen and rejected answers differ in what matters.")),
    )  # fmt: skip
    algorithms: ClassVar = frozenset({DPO})
    aliases: ClassVar = ("train/loss", "loss")
    limits: ClassVar = {"warmup": 50, "near": 0.02, "floor": 0.05, "healthy": 10.0, "margin": 20.0}

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        loss, margin, count = Ema(state.mean, state.variance, state.count), state.margin, state.count
        warmup = limits["warmup"]
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            loss = loss.add(value, 0.9)
            count = loss.count
            told = next((found for name in MARGINS if (found := number(point.values.get(name))) is not None), None)
            if told is not None:
                margin = Ema(margin, 0.0, count - 1).add(told, 0.9).mean
            # A loss of 0.05 is a margin of 3 where all pairs are alike: nothing is wrong with that, where it is known.
            beyond = told is None or margin > limits["healthy"]
            params = {"count": count, "margin": float(f"{margin:.3g}")}
            if count > warmup and loss.mean > START - limits["near"]:
                limit = START - limits["near"]
                marks.append(Mark(point.step, Severity.WARNING, loss.mean, limit, "stuck", params))
            elif warmup / 5 <= count <= warmup and loss.mean < limits["floor"] and beyond:
                marks.append(Mark(point.step, Severity.WARNING, loss.mean, limits["floor"], "at_once", params))
            elif count > warmup and margin > limits["margin"]:
                marks.append(Mark(point.step, Severity.WARNING, margin, limits["margin"], "margin", params))
        return State(loss.mean, loss.variance, margin, count), marks


RULE: Final = DpoStuck()
