"""A loss that ought to fall and does not, or rises far above where it began."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_LOSS, Advice, Case, Learns, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Ema

_WINDOW: Final = 5


@dataclass(frozen=True)
class State:
    """`best` and how many points nothing has beaten it; None before the first value. `first` is that value, `mean`
    the moving mean of the latest of `count`."""

    best: float | None = None
    waited: int = 0
    first: float = 0.0
    mean: float = 0.0
    count: int = 0


class LossPlateau(Rule):
    name: ClassVar = "loss_plateau"
    title: ClassVar = gettext_noop("The loss does not fall, or diverges")
    why: ClassVar = gettext_noop("The run spends time and learns nothing more, or never began to learn.")
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s has not fallen below %(best)s for %(waited)s steps, up to step %(step)s."),
        "diverged": gettext_noop(
            "%(metric)s is %(value)s in the mean, %(times)s times what it began with: the run has diverged."
        ),
        "rose": gettext_noop(
            "%(metric)s has risen to %(mean)s in the mean, %(times)s times its best of %(best)s, %(waited)s steps ago."
        ),
    }
    cases: ClassVar = {
        "message": Case(gettext_noop("The loss does not fall")),
        "diverged": Case(
            gettext_noop("The loss has diverged"),
            gettext_noop("The model has become worse than the one it began as, and seldom finds back by itself."),
        ),
        "rose": Case(
            gettext_noop("The loss has risen"),
            gettext_noop("The model has lost what it had learned; it seldom finds back by itself."),
        ),
    }
    advice: ClassVar = (
        Advice(gettext_noop("Lower the learning rate."), "learning_rate", times=0.1, codes=("diverged",)),
        Advice(
            gettext_noop("Go back to the best checkpoint, with a smaller learning rate."),
            "learning_rate",
            times=0.3,
            codes=("rose",),
        ),
        Advice(
            gettext_noop("Where it never fell, or rose, the learning rate is too large, or far too small."),
            "learning_rate",
            times=0.1,
            codes=("message",),
        ),
        Advice(
            gettext_noop("Where it fell before, the run has learned what the data have to teach: end it here."),
            codes=("message",),
        ),
        Advice(gettext_noop("Cut large gradients harder."), "gradient_clip", times=0.5, codes=("diverged", "rose")),
    )
    algorithms: ClassVar = BY_LOSS
    aliases: ClassVar = ("train/loss", "loss")
    quiet: ClassVar = 1
    limits: ClassVar = {"patience": 50, "min_delta": 1e-3, "diverged": 2.0}
    learns: ClassVar = Learns("diverged", least=1.5, most=5.0, codes=("diverged",))

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        best, waited, first = math.inf if state.best is None else state.best, state.waited, state.first
        mean = Ema(state.mean, 0.0, state.count)
        patience, min_delta, diverged = limits["patience"], limits["min_delta"], limits["diverged"]
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            first = value if mean.count == 0 else first
            mean = mean.add(value, 1 - 1 / _WINDOW)
            if best == math.inf or value < best - min_delta * abs(best):
                best, waited = value, 0
            else:
                waited += 1
            if mean.count >= _WINDOW and 0 < diverged * first <= mean.mean:
                told = {"times": round(mean.mean / first, 1)}
                marks.append(Mark(point.step, Severity.ERROR, mean.mean, diverged * first, "diverged", told))
            elif waited >= patience:
                flat = {"best": float(f"{best:.4g}"), "waited": waited}
                code = "message"
                if 0 < diverged * best <= mean.mean:
                    code, flat = (
                        "rose",
                        {**flat, "mean": float(f"{mean.mean:.4g}"), "times": round(mean.mean / best, 1)},
                    )
                marks.append(Mark(point.step, Severity.WARNING, value, best, code, flat))
        return State(None if best == math.inf else best, waited, first, mean.mean, mean.count), marks


RULE: Final = LossPlateau()
