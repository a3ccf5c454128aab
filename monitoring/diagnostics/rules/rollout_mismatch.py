"""Training and answering do not agree on probabilities. Source: verl's FAQ: below 0.005 is normal, above 0.01 not."""

from typing import ClassVar, Final

from monitoring.diagnostics.core import BY_REWARD, Advice, Learns, gettext_noop
from monitoring.diagnostics.levels import LevelRule


class RolloutMismatch(LevelRule):
    name: ClassVar = "rollout_mismatch"
    title: ClassVar = gettext_noop("Training and answering differ")
    why: ClassVar = gettext_noop("The gradients are worked out for another policy than the one that answered.")
    messages: ClassVar = {
        "message": gettext_noop("%(metric)s is %(value)s in the mean; below 0.005 is normal, above %(threshold)s not.")
    }
    advice: ClassVar = (
        Advice(gettext_noop("Use the same precision and attention in training and in answering.")),
        Advice(gettext_noop("Lower the learning rate."), "learning_rate", times=0.5),
    )
    algorithms: ClassVar = BY_REWARD
    aliases: ClassVar = ("training/rollout_probs_diff_mean",)
    limits: ClassVar = {"warning": 0.01, "error": 0.05, "window": 5}
    learns: ClassVar = Learns("warning", least=0.005, most=0.05, along=("error",))


RULE: Final = RolloutMismatch()
