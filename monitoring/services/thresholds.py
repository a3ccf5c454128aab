"""Which thresholds are in force for a run."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.conf import settings

from monitoring.diagnostics.engine import Limits
from monitoring.diagnostics.learning import Learnt, merged
from monitoring.diagnostics.rules import RULES
from monitoring.models import Stream


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


def kept(runs: int, learnt: Mapping[str, Learnt]) -> dict[str, Any]:
    """As a stream keeps them; `runs` are the healthy ones that there were."""
    return {"runs": runs, "rules": {rule: asdict(found) for rule, found in learnt.items()}}
