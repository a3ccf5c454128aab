"""Findings in the reader's language, with what to try."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from monitoring.diagnostics.core import Advice, Severity
from monitoring.diagnostics.knobs import KNOBS
from monitoring.diagnostics.rules import RULES
from monitoring.models import Finding, Stream
from monitoring.thresholds import Source, source_of


@dataclass(frozen=True)
class ToldAdvice:
    """`parameter` is the recipe's key that would change it; empty where none does. `times` or `to`: how."""

    text: str
    parameter: str
    times: float | None
    to: float | bool | None

    @property
    def changes(self) -> bool:
        return bool(self.parameter) and (self.times is not None or self.to is not None)


@dataclass(frozen=True)
class Told:
    """A finding as pages and the API show it. `source` is None where nothing was compared with a threshold."""

    finding: Finding
    title: str
    message: str
    why: str
    severity: str
    severity_label: str
    advice: tuple[ToldAdvice, ...]
    lines: tuple[str, ...]
    source: Source | None

    @property
    def change(self) -> ToldAdvice | None:
        """The first advice that is a change of the recipe."""
        return next((advice for advice in self.advice if advice.changes), None)


def told(finding: Finding, stream: Stream) -> Told:
    rule = RULES[finding.rule]
    case = rule.cases.get(finding.code)
    return Told(
        finding=finding,
        title=title(finding),
        message=message(finding),
        why=_((case.why if case else "") or rule.why),
        severity=Severity(finding.severity).word,
        severity_label=severity_label(finding.severity),
        advice=tuple(_advice(advice, stream) for advice in rule.advice if advice.concerns(finding.code)),
        lines=tuple(finding.params.get("lines", ())),
        source=source_of(rule.name, stream, code=finding.code) if finding.threshold is not None else None,
    )


def title(finding: Finding) -> str:
    """What happened, in a few words."""
    rule = RULES[finding.rule]
    case = rule.cases.get(finding.code)
    return _(case.title if case else rule.title)


def message(finding: Finding) -> str:
    """The rule's sentence about it."""
    template = RULES[finding.rule].messages.get(finding.code, "%(metric)s: %(value)s")
    params = {
        **finding.params,
        "metric": finding.metric,
        "step": finding.start_step,
        "value": _number(finding.value),
        "threshold": _number(finding.threshold),
    }
    return _(template) % params


def severity_label(severity: int) -> str:
    return {
        Severity.INFO: _("Info"),
        Severity.WARNING: _("Warning"),
        Severity.ERROR: _("Error"),
        Severity.CRITICAL: _("Critical"),
    }[Severity(severity)]


def rule_title(rule: str) -> str:
    """What the rule looks for; of a finding see `title`."""
    return _(RULES[rule].title) if rule in RULES else rule


def _advice(advice: Advice, stream: Stream) -> ToldAdvice:
    algorithm = "grpo" if stream.algorithm == "gspo" else stream.algorithm
    key = KNOBS.get((algorithm, stream.trainer or "verl"), {}).get(advice.knob, "")
    return ToldAdvice(_(advice.template), key, advice.times, advice.to)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value or "")
