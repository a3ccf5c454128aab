"""Read a run with the doctor's rules, and keep what they find.

Each sync reads its new steps in its own transaction. What cannot be read so is left for `refresh`, which follows at
once: many steps at a time, which would hold up the reading of files, and a past that has changed.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from monitoring import clip, notices, selectors
from monitoring.diagnostics import engine
from monitoring.diagnostics.core import Finding as Found
from monitoring.diagnostics.core import Sample, Severity
from monitoring.diagnostics.health import health
from monitoring.diagnostics.rules import RULES, rules_for
from monitoring.diagnostics.rules.stall import RULE as STALL
from monitoring.models import Diagnosis, Finding, Segment, Stream
from monitoring.services import news
from monitoring.store.lines import Step
from monitoring.thresholds import limits_for
from platform_site.common import plain
from platform_site.common.messages import send
from platform_site.common.queues import MAINTENANCE

MOST_AT_ONCE: Final = 512
"""Steps that a sync reads itself: some tens of milliseconds."""
CHUNK: Final = 2000
"""Rows that are in memory at a time."""
LOOK: Final = 20_000
"""Steps that are read while somebody waits, or a host is observed: a few seconds."""
SENT_S: Final = 30.0
SHARE: Final = 20
"""Of the time since the last reading anew, at most one part in so many is spent on the next."""
NOT_FROM_STEPS: Final = ("log_error", "stall")
"""Rules whose findings come from elsewhere, and stay when the steps are read anew."""

Key = tuple[int, str, str, int]
"""Attempt, rule, metric, first step: what a finding of a stream is known by."""


def read(stream: Stream, segment: Segment, steps: Sequence[Step]) -> None:
    """New steps of a segment, ascending, in the transaction that brings them and holds the stream."""
    known = plain.select(Diagnosis, {"stream_id": stream.pk})
    diagnosis = known[0] if known else Diagnosis(stream=stream, attempt=segment.attempt, state=engine.State().to_json())
    if diagnosis.status != Diagnosis.Status.CURRENT or len(steps) > MOST_AT_ONCE:
        _leave(
            diagnosis, Diagnosis.Status.STALE if _reaches_back(diagnosis, segment, steps) else Diagnosis.Status.BEHIND
        )
        return
    state = _state_for(diagnosis, segment, rules_for(stream.algorithm))
    if state is None:
        _leave(diagnosis, Diagnosis.Status.STALE)
        return
    samples = [Sample(step.step, step.time, step.values) for step in steps]
    seen = engine.advance(state, samples, rules_for(stream.algorithm), limits_for(stream))
    if seen.late:
        diagnosis.status = Diagnosis.Status.STALE
        diagnosis.asked += 1
    diagnosis.state, diagnosis.attempt = seen.state.to_json(), segment.attempt
    changed = _keep(stream.pk, segment.attempt, seen.findings)
    notices.found(stream, segment.attempt, [found for found in seen.findings if found.end_step > state.upto])
    _settle(stream, diagnosis, seen.state.upto, changed=changed)


def behind(stream_ids: Collection[UUID]) -> list[UUID]:
    """Those of them for which `refresh` may have something to do."""
    late = Diagnosis.objects.filter(stream_id__in=stream_ids).exclude(status=Diagnosis.Status.CURRENT)
    return list(late.values_list("stream_id", flat=True))


def refresh(stream_id: UUID) -> bool:
    """Catch up where a sync could not, as far as one look may; whether there was anything to do.

    What has to be read anew again and again (a trainer that goes back with every step) is read ever more seldom, and
    a long run by a worker.
    """
    diagnosis = Diagnosis.objects.filter(stream_id=stream_id).exclude(status=Diagnosis.Status.CURRENT).first()
    if diagnosis is None:
        return False
    anew = diagnosis.status == Diagnosis.Status.STALE
    if anew and diagnosis.read_at is not None:
        due = diagnosis.read_at + timedelta(seconds=SHARE * diagnosis.took_s)
        if timezone.now() < due:
            return False
    if anew and _steps_of(stream_id) > LOOK:
        # Should the message be lost, it is sent again once that much time has passed.
        Diagnosis.objects.filter(pk=stream_id).update(read_at=timezone.now(), took_s=max(diagnosis.took_s, SENT_S))
        send("diagnose_stream", MAINTENANCE, str(stream_id))
        return True
    _read_all(stream_id, anew=anew)
    return True


def diagnose(stream_id: UUID) -> None:
    """Read the whole run anew, from its first step."""
    _read_all(stream_id, anew=True)


def is_long(stream_id: UUID) -> bool:
    """Whether reading the run anew takes longer than anybody should wait for."""
    return _steps_of(stream_id) > LOOK


def _steps_of(stream_id: UUID) -> int:
    segments = selectors.segments(stream_id)
    return selectors.total_steps(selectors.parts_of(segments), segments)


def keep_one(stream_id: UUID, attempt: int, found: Found) -> None:
    """A finding that comes from elsewhere than from steps: from the log, or the clock."""
    with transaction.atomic():
        stream = Stream.objects.select_for_update().get(pk=stream_id)
        diagnosis, _made = Diagnosis.objects.get_or_create(
            stream=stream, defaults={"attempt": attempt, "state": engine.State().to_json()}
        )
        if not _keep(stream_id, attempt, [found]):
            return
        notices.found(stream, attempt, [found])
        Stream.objects.filter(pk=stream_id).update(version=F("version") + 1)
        _settle(stream, diagnosis, stream.last_step or 0, changed=True)
        _announce(stream_id)


def _reaches_back(diagnosis: Diagnosis, segment: Segment, steps: Sequence[Step]) -> bool:
    """Whether these steps lie before what was read, so that reading on would pass over them."""
    upto: int = diagnosis.state.get("upto", -1)
    if diagnosis.status == Diagnosis.Status.STALE or segment.attempt < diagnosis.attempt:
        return True
    if segment.attempt > diagnosis.attempt:
        return segment.resumed_from is None or segment.resumed_from < upto
    return bool(steps) and steps[0].step < upto


def _state_for(diagnosis: Diagnosis, segment: Segment, rules: Mapping[str, Any]) -> engine.State | None:
    """What the steps of this segment go on from; None where that has to be worked out anew."""
    state = engine.State.from_json(diagnosis.state, rules)
    if state is None or segment.attempt < diagnosis.attempt:
        return None
    if segment.attempt == diagnosis.attempt:
        return state
    if segment.resumed_from is not None and segment.resumed_from < state.upto:
        return None
    _clip(segment.stream_id, segment)
    return engine.cut(state) if segment.resumed_from is not None else engine.State()


def _clip(stream_id: UUID, segment: Segment) -> bool:
    """An attempt began: what was found before has ended, and counts up to where it goes on from."""
    before = Finding.objects.filter(stream_id=stream_id, attempt__lt=segment.attempt, clipped=False)
    start = -1 if segment.resumed_from is None else segment.resumed_from
    ended = before.filter(open=True).update(open=False)
    return bool(before.filter(start_step__gt=start).update(clipped=True) or ended)


def _read_all(stream_id: UUID, *, anew: bool) -> None:
    began = time.monotonic()
    stream = Stream.objects.get(pk=stream_id)
    diagnosis, _made = Diagnosis.objects.get_or_create(stream=stream, defaults={"state": engine.State().to_json()})
    reading = _Reading(stream, diagnosis, anew=anew)
    while not reading.read(selectors.segments(stream_id), LOOK) and anew:
        pass
    with transaction.atomic():
        stream = Stream.objects.select_for_update().get(pk=stream_id)
        segments = selectors.segments(stream_id)
        # What came while we read is little by now.
        complete = reading.read(segments, CHUNK)
        now = Diagnosis.objects.get(pk=diagnosis.pk)
        changed = reading.keep(segments)
        if notices.is_news(stream):
            reading.tell(stream)
        now.state, now.attempt = reading.state.to_json(), reading.attempt
        # Whatever changed meanwhile is read at the next look.
        if now.status != Diagnosis.Status.STALE or (anew and now.asked == diagnosis.asked):
            now.status = Diagnosis.Status.CURRENT if complete else Diagnosis.Status.BEHIND
        if anew:
            now.took_s, now.read_at = time.monotonic() - began, timezone.now()
        Stream.objects.filter(pk=stream_id).update(version=F("version") + 1)
        _settle(stream, now, reading.state.upto, changed=changed)
        _announce(stream_id)


class _Reading:
    """One reading of the canonical series: from its beginning, or from where the diagnosis stands."""

    def __init__(self, stream: Stream, diagnosis: Diagnosis, *, anew: bool) -> None:
        self.rules = rules_for(stream.algorithm)
        self.limits = limits_for(stream)
        state = None if anew else engine.State.from_json(diagnosis.state, self.rules)
        self.anew = anew or state is None
        self.state = state or engine.State()
        self.attempt = 0 if self.anew else diagnosis.attempt
        self.found: dict[Key, Found] = {}

    def read(self, segments: Sequence[Segment], most: int) -> bool:
        """Read on, about `most` steps; whether that was all."""
        seen_steps = 0
        for attempt, samples in _samples(segments, self.state.upto + 1):
            if seen_steps >= most:
                return False
            seen_steps += len(samples)
            if attempt != self.attempt:
                self.state = engine.cut(self.state)
                self.found = {key: _closed(found) for key, found in self.found.items()}
                self.attempt = attempt
            seen = engine.advance(self.state, samples, self.rules, self.limits)
            self.state = seen.state
            self.found |= {(attempt, *finding.key): finding for finding in seen.findings}
        return True

    def keep(self, segments: Sequence[Segment]) -> bool:
        stream_id = segments[0].stream_id if segments else None
        if stream_id is None:
            return False
        changed = False
        for segment in segments[1:]:
            changed |= _clip(stream_id, segment)
        # Of a run whose steps are kept no longer, what was found in them stays.
        if self.anew and self.state.upto >= 0:
            known = Finding.objects.filter(stream_id=stream_id, clipped=False).exclude(rule__in=NOT_FROM_STEPS)
            gone = [row.pk for row in known if (row.attempt, row.rule, row.metric, row.start_step) not in self.found]
            changed |= bool(Finding.objects.filter(pk__in=gone).delete()[0])
        for attempt, keys in groupby(sorted(self.found), key=lambda key: key[0]):
            changed |= _keep(stream_id, attempt, [self.found[key] for key in keys])
        return changed

    def tell(self, stream: Stream) -> None:
        """Of what counts: what an attempt found that another one clipped is no news."""
        for attempt, keys in groupby(sorted(self.found), key=lambda key: key[0]):
            if attempt == self.attempt:
                notices.found(stream, attempt, [self.found[key] for key in keys])


def _closed(found: Found) -> Found:
    return Found(**{**asdict(found), "open": False})


def _samples(segments: Sequence[Segment], first: int) -> Iterator[tuple[int, list[Sample]]]:
    """The canonical series from a step on, so many rows at a time, by attempt."""
    for part in clip.within(selectors.parts_of(segments), first, None):
        low = part.low
        while low <= part.high:
            rows = selectors.rows(segments, start_step=low, end_step=part.high, attempt=part.attempt, limit=CHUNK)
            if not rows:
                break
            yield part.attempt, [Sample(row.step, row.time, row.values) for row in rows]
            low = rows[-1].step + 1


def _keep(stream_id: UUID, attempt: int, findings: Iterable[Found]) -> bool:
    """Write findings as they stand now, each once; whether anything changed that people see."""
    findings = list(findings)
    if not findings:
        return False
    Finding.objects.bulk_create(
        [
            Finding(
                stream_id=stream_id,
                attempt=attempt,
                rule=found.rule,
                metric=found.metric,
                start_step=found.start_step,
                end_step=found.end_step,
                severity=found.severity,
                value=found.value,
                threshold=found.threshold,
                code=found.code,
                params=dict(found.params),
                open=found.open,
            )
            for found in findings
        ],
        update_conflicts=True,
        unique_fields=["stream", "attempt", "rule", "metric", "start_step"],
        update_fields=["end_step", "severity", "value", "threshold", "code", "params", "open"],
        batch_size=200,
    )
    return True


def _leave(diagnosis: Diagnosis, status: str) -> None:
    diagnosis.status = status
    diagnosis.asked += 1
    plain.save(diagnosis)


def _settle(stream: Stream, diagnosis: Diagnosis, last_step: int, *, changed: bool) -> None:
    """The health that the findings come to, with the diagnosis itself."""
    # Each that there is has its part, of however few points: most runs have none, and most steps bring none.
    findings = _active(stream.pk) if changed or diagnosis.parts else []
    for found in findings:
        if found.rule == STALL.name and found.open and found.end_step < last_step:
            # A step has come: nothing stands still any more.
            Finding.objects.filter(stream=stream, rule=found.rule, open=True).update(open=False)
            changed = True
    told = health(findings, last_step)
    diagnosis.parts = [
        {"rule": part.rule, "severity": part.severity.word, "points": part.points} for part in told.parts
    ]
    plain.save(diagnosis)
    if changed:
        Stream.objects.filter(pk=stream.pk).update(health_score=told.score, diagnosed_version=F("version"))
    elif told.score != stream.health_score:
        Stream.objects.filter(pk=stream.pk).update(health_score=told.score)


def _active(stream_id: UUID) -> list[Found]:
    rows = Finding.objects.filter(stream_id=stream_id, clipped=False)
    return [
        Found(row.rule, row.metric, row.start_step, row.end_step, Severity(row.severity), 0, None, open=row.open)
        for row in rows.only("rule", "metric", "start_step", "end_step", "severity", "open")
        if row.rule in RULES
    ]


def _announce(stream_id: UUID) -> None:
    version = Stream.objects.values_list("version", flat=True).get(pk=stream_id)
    news.announce(stream_id, version)
