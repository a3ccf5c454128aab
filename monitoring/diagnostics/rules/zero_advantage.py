"""Groups whose answers are all rewarded alike: nothing to compare. Source: miles advisory; prime-rl."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Learns, Mark, Point, gettext_noop
from monitoring.diagnostics.levels import LevelRule, LevelState, number

HIGHEST: Final = "critic/advantages/max"
LOWEST: Final = "critic/advantages/min"


class ZeroAdvantage(LevelRule):
    """Where the trainer does not count such groups, a step without any advantage is one of nothing but them."""

    name: ClassVar = "zero_advantage"
    title: ClassVar = gettext_noop("Nothing to compare")
    why: ClassVar = gettext_noop("A group of answers with one and the same reward has no better one to learn from.")
    messages: ClassVar = {
        "message": gettext_noop("In the mean %(percent)s %% of the groups have one reward for all their answers.")
    }
    advice: ClassVar = (
        Advice(gettext_noop("Take prompts that the model answers right sometimes, and not always or never.")),
        Advice(gettext_noop("Ask for more answers to each prompt."), "answers", times=2),
        Advice(gettext_noop("Answer at a higher temperature."), "temperature", to=1.0),
    )
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = ("frac_reward_zero_std", "train/frac_reward_zero_std", HIGHEST)
    reaches: ClassVar = True
    limits: ClassVar = {"warning": 0.5, "error": 0.9, "window": 10}
    learns: ClassVar = Learns("warning", least=0.3, most=0.55, along=("error",))

    def read(
        self, state: LevelState, points: Sequence[Point], limits: Mapping[str, float]
    ) -> tuple[LevelState, list[Mark]]:
        state, marks = super().read(state, [_share(point) for point in points], limits)
        return state, [mark._replace(params={"percent": round(100 * float(mark.value))}) for mark in marks]


def _share(point: Point) -> Point:
    if point.metric != HIGHEST:
        return point
    highest, lowest = number(point.value), number(point.values.get(LOWEST))
    if highest is None or lowest is None:
        return point._replace(value="NaN")
    return point._replace(value=float(highest - lowest < 1e-6))


RULE: Final = ZeroAdvantage()
