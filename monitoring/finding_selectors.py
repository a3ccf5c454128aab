"""What can be asked about the findings of a stream. Constant numbers of queries."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet

from monitoring.diagnostics.core import Severity
from monitoring.diagnostics.health import grade
from monitoring.diagnostics.rules import RULES
from monitoring.diagnostics.rules.stall import RULE as STALL
from monitoring.models import Diagnosis, Finding, Stream
from monitoring.thresholds import learnt_of
from monitoring.told import Told, rule_title, severity_label, title, told

MOST_SHOWN: Final = 100
"""Findings on one page; the worst and the open ones come first."""
MOST_SERIOUS: Final = 20
"""Of one attempt: the first decides."""


@dataclass(frozen=True)
class Part:
    """What a rule takes off the health."""

    rule: str
    title: str
    severity: str
    severity_label: str
    points: int


@dataclass(frozen=True)
class LearntRule:
    """A rule whose threshold so many healthy runs set."""

    title: str
    runs: int


@dataclass(frozen=True)
class Checkup:
    """All that the doctor says of a run. `score` is None before anything was read."""

    score: int | None
    grade: str
    parts: tuple[Part, ...]
    findings: tuple[Told, ...]
    more: int
    learnt: tuple[LearntRule, ...]

    @property
    def worst(self) -> Told | None:
        """The worst of what lasts; a critical finding, which nothing repairs, also after it."""
        lasting = [one for one in self.findings if one.finding.open or one.severity == "critical"]
        return max(lasting, key=lambda one: one.finding.severity, default=None)


def findings_of(stream_id: UUID) -> QuerySet[Finding]:
    """Of the series as it counts, worst first."""
    return Finding.objects.filter(stream_id=stream_id, clipped=False, rule__in=list(RULES))


def checkup(stream: Stream) -> Checkup:
    rows = list(findings_of(stream.pk)[: MOST_SHOWN + 1])
    more = findings_of(stream.pk).count() - MOST_SHOWN if len(rows) > MOST_SHOWN else 0
    return Checkup(
        score=stream.health_score,
        grade="" if stream.health_score is None else grade(stream.health_score),
        parts=parts_of(stream.pk, rows) if rows else (),
        findings=tuple(told(row, stream) for row in rows[:MOST_SHOWN]),
        more=more,
        learnt=tuple(LearntRule(rule_title(rule), found.runs) for rule, found in learnt_of(stream).items()),
    )


def parts_of(stream_id: UUID, findings: Iterable[Finding]) -> tuple[Part, ...]:
    """Each called as the worst of its rule's findings, which are given in that order."""
    kept = Diagnosis.objects.filter(stream_id=stream_id).values_list("parts", flat=True).first() or []
    titles: dict[str, str] = {}
    for finding in findings:
        titles.setdefault(finding.rule, title(finding))
    return tuple(
        Part(
            part["rule"],
            titles.get(part["rule"]) or rule_title(part["rule"]),
            part["severity"],
            severity_label(Severity.of(part["severity"])),
            part["points"],
        )
        for part in kept
    )


def serious(attempts: Mapping[UUID, int]) -> dict[UUID, list[Finding]]:
    """What may end these attempts (stream -> number), of each that has any: its critical findings, the first one first,
    and that it stands still."""
    stalled = Q(rule=STALL.name, open=True)
    rows = Finding.objects.filter(Q(severity=Severity.CRITICAL) | stalled, stream_id__in=attempts, clipped=False)
    found: dict[UUID, list[Finding]] = defaultdict(list)
    for row in rows.filter(rule__in=list(RULES)).order_by("start_step", "pk").iterator():
        kept = found[row.stream_id]
        if row.attempt == attempts[row.stream_id] and len(kept) < MOST_SERIOUS:
            kept.append(row)
    return {stream_id: kept for stream_id, kept in found.items() if kept}


def critical(stream_id: UUID, attempt: int) -> Finding | None:
    """The first critical finding of an attempt."""
    found = findings_of(stream_id).filter(attempt=attempt, severity=Severity.CRITICAL)
    return found.order_by("start_step", "pk").first()
