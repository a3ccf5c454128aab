"""A loss that ought to fall and does not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_LOSS, Advice, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number


@dataclass(frozen=True)
class State:
    """`best` and how many points nothing has beaten it; None before the first value."""

    best: float | None = None
    waited: int = 0


class LossPlateau(Rule):
    name: ClassVar = "loss_plateau"
    title: ClassVar = gettext_noop("The loss does not fall")
    why: ClassVar = gettext_noop("The run spends time and learns nothing more, or never began to learn.")
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s has not fallen below %(best)s for %(waited)s steps, up to step %(step)s.")
    }
    advice: ClassVar = (
        Advice(gettext_noop("Where it never fell, the learning rate is too small, or far too large."),
               "learning_rate", times=0.3),
        Advice(gettext_noop("Where it fell before, the run has learned what the data have to teach: end it here.")),
    )  # fmt: skip
    algorithms: ClassVar = BY_LOSS
    aliases: ClassVar = ("train/loss", "loss")
    quiet: ClassVar = 1
    limits: ClassVar = {"patience": 50, "min_delta": 1e-3}

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        best, waited = math.inf if state.best is None else state.best, state.waited
        patience, min_delta = limits["patience"], limits["min_delta"]
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            if best == math.inf or value < best - min_delta * abs(best):
                best, waited = value, 0
                continue
            waited += 1
            if waited >= patience:
                told = {"best": float(f"{best:.4g}"), "waited": waited}
                marks.append(Mark(point.step, Severity.WARNING, value, best, params=told))
        return State(None if best == math.inf else best, waited), marks


RULE: Final = LossPlateau()
