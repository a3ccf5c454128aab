"""The stage kinds that pipelines bring. Other apps add theirs in their AppConfig.ready."""

from .base import InlineKind, RunnerKind, StageKind, Verdict
from .registry import inline_names, is_inline, kind_of, names, register, runner_kind

__all__ = [
    "InlineKind",
    "RunnerKind",
    "StageKind",
    "Verdict",
    "inline_names",
    "is_inline",
    "kind_of",
    "names",
    "register",
    "runner_kind",
]
