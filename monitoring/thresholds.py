"""Which thresholds are in force for a run, and where they come from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from monitoring.diagnostics.engine import Limits
from monitoring.diagnostics.learning import LEAST_RUNS, Learnt, Origin, merged
from monitoring.diagnostics.rules import RULES, rules_for
from monitoring.models import Stream


@dataclass(frozen=True)
class Source:
    """`runs` are those that a learnt threshold comes from; of a default that could be learnt those that there were, of
    any other None."""

    origin: Origin
    runs: int | None = None

    @property
    def text(self) -> str:
        if self.origin is Origin.SETTINGS:
            return _("The threshold is the one of the settings.")
        if self.origin is Origin.LEARNT:
            told = ngettext(
                "The threshold was learnt from %(runs)s healthy run of this kind.",
                "The threshold was learnt from %(runs)s healthy runs of this kind.",
                self.runs or 0,
            )
            return told % {"runs": self.runs}
        if self.runs is None:
            return _("The threshold is the rule's own.")
        told = _("The threshold is the rule's own: of %(least)s healthy runs of this kind there were %(runs)s.")
        return told % {"least": LEAST_RUNS, "runs": self.runs}


@dataclass(frozen=True)
class Threshold:
    """A limit that is in force for a run."""

    rule: str
    limit: str
    value: float
    source: Source


def source_of(rule: str, stream: Stream, *, code: str = "", limit: str = "") -> Source:
    """Of the threshold that a finding with that code went by, or of a limit."""
    if is_set(rule):
        return Source(Origin.SETTINGS)
    learns = RULES[rule].learns
    if learns is None or not (limit in {learns.limit, *learns.along} if limit else learns.concerns(code)):
        return Source(Origin.DEFAULT)
    found = learnt_of(stream).get(rule)
    if found is not None:
        return Source(Origin.LEARNT, found.runs)
    return Source(Origin.DEFAULT, (stream.learnt or {}).get("runs"))


def thresholds_of(stream: Stream) -> list[Threshold]:
    """Every limit of the rules that read a run."""
    limits = limits_for(stream)
    return [
        Threshold(name, limit, limits.get(name, {}).get(limit, own), source_of(name, stream, limit=limit))
        for name, rule in rules_for(stream.algorithm).items()
        for limit, own in rule.limits.items()
    ]


def limits_for(stream: Stream) -> Limits:
    """Those that differ from the rules' own: what the settings say, and what was learnt when it began."""
    return merged(set_limits(), learnt_of(stream))


def set_limits() -> Limits:
    """What the settings say."""
    return {
        "kl_explosion": {"threshold": settings.KL_THRESHOLD},
        "stall": {"factor": settings.STALL_FACTOR, "after_s": settings.STALL_AFTER_S},
    }


def is_set(rule: str) -> bool:
    """Whether the settings say otherwise than the rule: what people chose counts more than what runs teach."""
    own = RULES[rule].limits
    return any(value != own[name] for name, value in set_limits().get(rule, {}).items())


def learnt_of(stream: Stream) -> Mapping[str, Learnt]:
    """As they were when the run began: what other runs teach meanwhile changes nothing of what is found in it."""
    return {rule: Learnt(**found) for rule, found in (stream.learnt or {}).get("rules", {}).items()}


def kept(runs: int | None, learnt: Mapping[str, Learnt]) -> dict[str, Any]:
    """As a stream keeps them; `runs` are the healthy ones that there were, None where nobody asked."""
    return {"runs": runs, "rules": {rule: asdict(found) for rule, found in learnt.items()}}
