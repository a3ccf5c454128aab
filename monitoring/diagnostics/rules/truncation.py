"""Answers are cut off at their longest. Source: verl's best practices; miles."""

from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Learns, gettext_noop
from monitoring.diagnostics.levels import LevelRule


class Truncation(LevelRule):
    name: ClassVar = "truncation"
    title: ClassVar = gettext_noop("Answers are cut off")
    why: ClassVar = gettext_noop("An answer without its end is judged as wrong, whatever it was about to say.")
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s is %(value)s in the mean: so large a share of the answers has no end.")
    }
    advice: ClassVar = (
        Advice(gettext_noop("Allow for longer answers."), "answer_length", times=2),
        Advice(gettext_noop("Reward answers that come to an end.")),
    )
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = ("response_length/clip_ratio", "completions/clipped_ratio", "train/completions/clipped_ratio")
    # Twenty steps: a model that learns to be brief may begin with answers that are too long.
    limits: ClassVar = {"warning": 0.1, "error": 0.25, "window": 20}
    learns: ClassVar = Learns("warning", least=0.05, most=0.3, along=("error",))


RULE: Final = Truncation()
