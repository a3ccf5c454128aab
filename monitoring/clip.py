"""Which steps of which attempt make up the series of a run. Pure.

An attempt that resumed from step r goes on where the one before it stood at r: what the earlier one logged after
r never became part of the model. It stays stored, and is shown when that attempt is asked for.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Seen(NamedTuple):
    """A segment as far as it has been read. `first_step` is None while nothing has."""

    segment_id: int
    attempt: int
    resumed_from: int | None
    first_step: int | None
    last_step: int | None


class Part(NamedTuple):
    """Steps `low` to `high` of a segment, both included."""

    segment_id: int
    attempt: int
    low: int
    high: int


def canonical(segments: Sequence[Seen]) -> list[Part]:
    """The parts of the series in the order of attempts; those without steps are left out."""
    parts: list[Part] = []
    limit: int | None = None
    for segment in sorted(segments, key=lambda s: s.attempt, reverse=True):
        if segment.first_step is not None and segment.last_step is not None:
            high = segment.last_step if limit is None else min(segment.last_step, limit)
            if segment.first_step <= high:
                parts.append(Part(segment.segment_id, segment.attempt, segment.first_step, high))
        if segment.attempt == 1:
            break
        # Without a step to resume from it began anew, and nothing before it counts.
        start = -1 if segment.resumed_from is None else segment.resumed_from
        if segment.first_step is not None and segment.first_step < start:
            start = segment.first_step - 1
        limit = start if limit is None else min(limit, start)
    return parts[::-1]


def within(parts: Sequence[Part], start: int | None, end: int | None) -> list[Part]:
    """The parts as far as they lie between `start` and `end`, both included."""
    cut = [
        part._replace(
            low=part.low if start is None else max(part.low, start),
            high=part.high if end is None else min(part.high, end),
        )
        for part in parts
    ]
    return [part for part in cut if part.low <= part.high]
