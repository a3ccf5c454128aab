"""Answers grow and grow; with entropy and gradients rising too it comes before a crash. Source: verl#1066."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Learns, Mark, Point, Rule, Severity, Value, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Ema

_BASE: Final = 20
"""Points that make up the run's own baseline."""
_RISES: Final = 1.2
_WEIGHT: Final = 0.9
COMPANIONS: Final = (("actor/entropy", "entropy", "train/entropy"), ("actor/grad_norm", "grad_norm", "train/grad_norm"))


@dataclass(frozen=True)
class State:
    """Baselines and moving means of length, entropy and gradient."""

    count: int = 0
    base: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)


class LengthExplosion(Rule):
    name: ClassVar = "length_explosion"
    title: ClassVar = gettext_noop("Answers grow without end")
    why: ClassVar = gettext_noop("The reward may like length for its own sake; memory and time run out with it.")
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s is %(value)s in the mean, %(times)s times what it began with."),
        "crash": gettext_noop(
            "%(metric)s is %(value)s in the mean, %(times)s times what it began with, and entropy and gradients rise "
            "as well: runs break down after this."
        ),
    }
    advice: ClassVar = (
        Advice(gettext_noop("Take something off the reward for length.")),
        Advice(gettext_noop("Lower the learning rate."), "learning_rate", times=0.3),
        Advice(gettext_noop("Hold the model to its reference."), "kl_loss", to=True),
    )
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = (
        "response_length/mean", "completions/mean_length", "train/completions/mean_length", "completion_length",
    )  # fmt: skip
    limits: ClassVar = {"times": 2.0, "crash_times": 1.5}
    learns: ClassVar = Learns("times", least=1.5, most=4.0, along=("crash_times",))

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        count, base, mean = state.count, state.base, state.mean
        marks = []
        for point in points:
            length = number(point.value)
            if length is None:
                continue
            row = (length, *(_first(point.values, names) for names in COMPANIONS))
            count += 1
            mean = tuple(  # type: ignore[assignment]
                Ema(m, 0.0, count - 1).add(m if v is None else v, _WEIGHT).mean for m, v in zip(mean, row, strict=True)
            )
            if count <= _BASE:
                base = mean
                continue
            if base[0] <= 0:
                continue
            times = mean[0] / base[0]
            rising = all(b > 0 and m > _RISES * b for b, m in zip(base[1:], mean[1:], strict=True))
            told = {"times": round(times, 1)}
            if rising and times >= limits["crash_times"]:
                limit = limits["crash_times"] * base[0]
                marks.append(Mark(point.step, Severity.ERROR, mean[0], limit, "crash", told))
            elif times >= limits["times"]:
                marks.append(Mark(point.step, Severity.WARNING, mean[0], limits["times"] * base[0], params=told))
        return State(count, base, mean), marks


def _first(values: Mapping[str, Value], names: Sequence[str]) -> float | None:
    return next((found for name in names if (found := number(values.get(name))) is not None), None)


RULE: Final = LengthExplosion()
