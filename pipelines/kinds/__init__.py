"""The stage kinds that pipelines bring. Other apps add theirs in their AppConfig.ready."""

from .base import StageKind, Verdict
from .registry import kind_of, names, register

__all__ = ["StageKind", "Verdict", "kind_of", "names", "register"]
