"""A gradient far outside what the run's own are. Source: ZClip, arXiv 2504.02507: z > 2.5 on an EMA of 0.97."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import Advice, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Ema


@dataclass(frozen=True)
class State:
    mean: float = 0.0
    variance: float = 0.0
    count: int = 0


class GradSpike(Rule):
    name: ClassVar = "grad_spike"
    title: ClassVar = gettext_noop("Gradient spike")
    why: ClassVar = gettext_noop("One such step can undo many; several in a row are how runs diverge.")
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s is %(value)s at step %(step)s, %(ratio)s times its mean (z = %(z)s).")
    }
    advice: ClassVar = (
        Advice(gettext_noop("Cut large gradients harder."), "gradient_clip", times=0.5),
        Advice(gettext_noop("Begin more slowly."), "warmup", to=0.1),
        Advice(gettext_noop("Lower the learning rate."), "learning_rate", times=0.5),
    )
    aliases: ClassVar = ("actor/grad_norm", "train/grad_norm", "grad_norm", "critic/grad_norm")
    each: ClassVar = True
    # z alone would call one step in two hundred a spike: the values of a healthy run vary, too.
    limits: ClassVar = {"z": 2.5, "weight": 0.97, "ratio": 5.0, "error_ratio": 20.0, "warmup": 25}

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        ema = Ema(state.mean, state.variance, state.count)
        warmup, least_z, least_ratio, weight = limits["warmup"], limits["z"], limits["ratio"], limits["weight"]
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            if ema.count >= warmup and value > least_ratio * ema.mean > 0:
                spread = ema.deviation
                z = (value - ema.mean) / spread if spread > 0 else math.inf
                if z > least_z:
                    ratio = value / ema.mean
                    severity = Severity.ERROR if ratio > limits["error_ratio"] else Severity.WARNING
                    limit = max(ema.mean + least_z * spread, least_ratio * ema.mean)
                    told = {"ratio": round(ratio, 1), "z": round(min(z, 9999.0), 1)}
                    marks.append(Mark(point.step, severity, value, limit, params=told))
                    # As ZClip does: what was clipped away is no part of what the next is compared with.
                    value = limit
            ema = ema.add(value, weight)
        return State(ema.mean, ema.variance, ema.count), marks


RULE: Final = GradSpike()
