"""The stage kinds that pipelines bring. Other apps add theirs in their AppConfig.ready."""

from .base import InlineKind, RunnerKind, StageKind, Verdict
from .registry import (
    inline_names,
    instant_names,
    is_inline,
    is_instant,
    kind_of,
    names,
    needs_training_environment,
    register,
    runner_kind,
    set_up_names,
    summary_of,
)

__all__ = [
    "InlineKind",
    "RunnerKind",
    "StageKind",
    "Verdict",
    "inline_names",
    "instant_names",
    "is_inline",
    "is_instant",
    "kind_of",
    "names",
    "needs_training_environment",
    "register",
    "runner_kind",
    "set_up_names",
    "summary_of",
]
