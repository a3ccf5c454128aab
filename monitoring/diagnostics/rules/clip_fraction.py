"""Too large a share of tokens is clipped. Source: TRL. GSPO clips otherwise, and is not judged by this."""

from typing import ClassVar, Final

from monitoring.diagnostics.core import GRPO, Advice, Learns, gettext_noop
from monitoring.diagnostics.levels import LevelRule


class ClipFraction(LevelRule):
    name: ClassVar = "clip_fraction"
    title: ClassVar = gettext_noop("Much is clipped")
    why: ClassVar = gettext_noop("What is clipped teaches nothing: the updates are larger than the method allows for.")
    messages: ClassVar = {"message": gettext_noop("%(metric)s is %(value)s in the mean, above %(threshold)s.")}
    advice: ClassVar = (
        Advice(gettext_noop("Lower the learning rate."), "learning_rate", times=0.5),
        Advice(gettext_noop("Make fewer updates from one round of answers.")),
    )
    algorithms: ClassVar = frozenset({GRPO})
    aliases: ClassVar = ("actor/pg_clipfrac", "clip_ratio/region_mean", "clip_ratio", "train/clip_ratio/region_mean")
    limits: ClassVar = {"warning": 0.25, "error": 0.5, "window": 10}
    learns: ClassVar = Learns("warning", least=0.1, most=0.45, along=("error",))


RULE: Final = ClipFraction()
