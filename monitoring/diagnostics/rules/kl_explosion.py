"""The policy runs away from the model that it is held to. The training process looks for the same by itself."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Learns, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number

TIMES: Final = ((5.0, Severity.CRITICAL), (2.0, Severity.ERROR), (1.0, Severity.WARNING))
"""How many times the threshold makes which severity."""


class KlExplosion(Rule):
    name: ClassVar = "kl_explosion"
    title: ClassVar = gettext_noop("KL explosion")
    why: ClassVar = gettext_noop(
        "The model has moved so far from the one it started as that the reward no longer says anything about it."
    )
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s is %(value)s at step %(step)s: %(times)s times the threshold.")
    }
    advice: ClassVar = (
        Advice(gettext_noop("Lower the learning rate."), "learning_rate", times=0.3),
        Advice(gettext_noop("Hold the model to its reference."), "kl_loss", to=True),
        Advice(gettext_noop("Weigh the divergence more."), "kl_coefficient", times=10),
    )
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = ("actor/kl_loss", "actor/ppo_kl", "critic/kl", "kl", "objective/kl")
    each: ClassVar = True
    limits: ClassVar = {"threshold": 1.0}
    learns: ClassVar = Learns("threshold", least=0.2, most=5.0)

    def begin(self) -> None:
        return None

    def read(self, state: None, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[None, list[Mark]]:
        threshold = limits["threshold"]
        marks = []
        for point in points:
            value = number(point.value)
            if value is None or abs(value) < threshold:
                continue
            times = abs(value) / threshold
            severity = next(severity for least, severity in TIMES if times >= least)
            marks.append(Mark(point.step, severity, value, threshold, params={"times": round(times, 1)}))
        return None, marks


RULE: Final = KlExplosion()
