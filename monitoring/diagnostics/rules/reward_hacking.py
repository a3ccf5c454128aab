"""The reward in training rises and the held-out score does not: the model learns the reward, not the task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Mark, Point, Rule, Severity, Value, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Ema

SCORES: Final = ("val-core/", "val/test_score/", "val/reward", "eval_reward")
"""What names of held-out scores begin with."""


@dataclass(frozen=True)
class State:
    """The moving mean of the reward with its range, and of the last evaluations (that mean, held-out score)."""

    mean: float = 0.0
    count: int = 0
    low: float | None = None
    high: float | None = None
    past: tuple[tuple[float, float], ...] = ()


class RewardHacking(Rule):
    name: ClassVar = "reward_hacking"
    title: ClassVar = gettext_noop("Reward hacking")
    why: ClassVar = gettext_noop("What the reward likes and what you want part ways: the model gets worse at the task.")
    messages: ClassVar = {
        "message": gettext_noop(
            "Over %(evaluations)s evaluations the reward in training rose from %(from_reward)s to %(to_reward)s, while "
            "%(score)s went from %(from_score)s to %(value)s."
        )
    }
    advice: ClassVar = (
        Advice(gettext_noop("Read the answers with the highest reward, and close the gap that they use.")),
        Advice(gettext_noop("Hold the model to its reference."), "kl_loss", to=True),
        Advice(gettext_noop("Weigh the divergence more."), "kl_coefficient", times=10),
    )
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = ("critic/rewards/mean", "critic/score/mean", "reward", "train/reward")
    # Evaluations are far apart: one within so many steps goes on with the finding.
    quiet: ClassVar = 200
    # Five evaluations, and a reward that rose by a third of its range: less is chance.
    limits: ClassVar = {"evaluations": 5, "rise": 0.33, "fall": 0.15, "window": 5}

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        reward, low, high, past = Ema(state.mean, 0.0, state.count), state.low, state.high, state.past
        weight, most = 1 - 1 / limits["window"], int(limits["evaluations"])
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            reward = reward.add(value, weight)
            low = reward.mean if low is None else min(low, reward.mean)
            high = reward.mean if high is None else max(high, reward.mean)
            name, score = _score(point.values)
            if score is None:
                continue
            past = (*past, (reward.mean, score))[-most:]
            (first_reward, first_score), (before, _earlier) = past[0], past[-2] if len(past) > 1 else past[0]
            rose = reward.mean - first_reward > limits["rise"] * (high - low) and reward.mean >= before
            if len(past) < most or not rose or any(later > first_score for _reward, later in past[1:]):
                continue
            fell = score < first_score - limits["fall"] * abs(first_score)
            told = {
                "evaluations": most,
                "from_reward": float(f"{first_reward:.3g}"),
                "to_reward": float(f"{reward.mean:.3g}"),
                "from_score": float(f"{first_score:.3g}"),
                "score": name,
            }
            severity = Severity.ERROR if fell else Severity.WARNING
            marks.append(Mark(point.step, severity, score, first_score, params=told))
        return State(reward.mean, reward.count, low, high, past), marks


def _score(values: Mapping[str, Value]) -> tuple[str, float | None]:
    """The held-out score of a step: the first by name, where there are several."""
    found = min((name for name in values if name.startswith(SCORES)), default="")
    return found, number(values.get(found))


RULE: Final = RewardHacking()
