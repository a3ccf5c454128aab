"""A loss, reward, divergence or gradient that is no number any more. Source: verl#721."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from monitoring.diagnostics.core import EVERY_METRIC, Advice, Mark, Point, Rule, Severity, gettext_noop

WATCHED: Final = re.compile(r"loss|reward|score|kl|grad|entropy|logp", re.IGNORECASE)


class NanInf(Rule):
    name: ClassVar = "nan_inf"
    title: ClassVar = gettext_noop("Not a number")
    why: ClassVar = gettext_noop(
        "Once a value is not finite the weights are, as a rule, lost: every further step trains on nothing."
    )
    messages: ClassVar = {"message": gettext_noop("%(metric)s is %(value)s at step %(step)s.")}
    advice: ClassVar = (
        Advice(gettext_noop("Start again from a checkpoint before this step, with a smaller learning rate."),
               "learning_rate", times=0.1),
        Advice(gettext_noop("Cut large gradients harder."), "gradient_clip", times=0.5),
        Advice(gettext_noop("Look for rows that are empty or longer than the model takes in the data of this step.")),
    )  # fmt: skip
    aliases: ClassVar = EVERY_METRIC
    each: ClassVar = True
    quiet: ClassVar = 20

    def begin(self) -> None:
        return None

    def read(self, state: None, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[None, list[Mark]]:
        return None, [
            Mark(point.step, Severity.CRITICAL, point.value, None) for point in points if isinstance(point.value, str)
        ]


RULE: Final = NanInf()
