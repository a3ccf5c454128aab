"""How healthy a run is, from its findings: 100, less what each rule takes off by severity and age. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .core import Finding, Severity

POINTS: Final = {Severity.INFO: 2, Severity.WARNING: 10, Severity.ERROR: 30, Severity.CRITICAL: 70}
_HALF_LIFE: Final = 100
"""Steps after its end at which a finding weighs half as much: a tenth of the run, and at least this."""
_LEAST: Final = 0.25
GRADES: Final = ((90, "A"), (75, "B"), (60, "C"), (40, "D"))


@dataclass(frozen=True)
class Part:
    """What a rule takes off: the heaviest of its findings."""

    rule: str
    severity: Severity
    points: int


@dataclass(frozen=True)
class Health:
    score: int
    parts: tuple[Part, ...]

    @property
    def grade(self) -> str:
        return grade(self.score)


def grade(score: int) -> str:
    return next((letter for least, letter in GRADES if score >= least), "F")


def health(findings: Iterable[Finding], last_step: int) -> Health:
    """Of the findings of a run that stands at `last_step`. One rule counts once, however many metrics show it."""
    worst: dict[str, Part] = {}
    for finding in findings:
        points = round(POINTS[finding.severity] * _weight(finding, last_step))
        if finding.rule not in worst or points > worst[finding.rule].points:
            worst[finding.rule] = Part(finding.rule, finding.severity, points)
    parts = sorted(worst.values(), key=lambda part: (-part.points, part.rule))
    return Health(max(0, 100 - sum(part.points for part in parts)), tuple(parts))


def _weight(finding: Finding, last_step: int) -> float:
    """1 while it lasts; then less with each step. What could not be repaired by going on keeps its weight."""
    if finding.open or finding.severity is Severity.CRITICAL:
        return 1.0
    half = max(_HALF_LIFE, last_step / 10)
    since: float = max(0, last_step - finding.end_step) / half
    return max(_LEAST, math.exp2(-since))
