"""Read a past run with any rules as it would have been read while it ran: when each first said what. Pure.

Steps are read in the order in which they came, attempt by attempt, and no rule sees a step before it has judged all
earlier ones. What is held is a chunk of steps and the states at which later attempts went on.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from .core import Mark, Rule, Sample, Severity, Value
from .engine import Limits, State, advance, cut


@dataclass(frozen=True)
class Try:
    """One attempt: all that it logged, ascending, in chunks of any size; those that a later one did again too."""

    number: int
    resumed_from: int | None
    chunks: Iterable[Sequence[Sample]]


class Alarm(NamedTuple):
    """The first time that a rule reached a severity. `ordinal` counts the steps of all attempts up to this one;
    `time` is that of the step, by the trainer's clock."""

    rule: str
    severity: Severity
    metric: str
    attempt: int
    step: int
    ordinal: int
    time: float | None
    value: Value
    threshold: float | None


@dataclass(frozen=True)
class Replayed:
    """`steps` counts those of all attempts. `alarms`: in the order in which they came, at most one a rule and
    severity, and none that is lighter than one before."""

    steps: int
    alarms: tuple[Alarm, ...]

    def first(self, rule: str, least: Severity) -> Alarm | None:
        """When the rule first reached this severity."""
        return next((one for one in self.alarms if one.rule == rule and one.severity >= least), None)


def replay(
    tries: Iterable[Try],
    resume_points: Iterable[int],
    rules: Mapping[str, Rule],
    limits: Limits | None = None,
    *,
    told: Callable[[int], None] = lambda steps: None,
) -> Replayed:
    """`resume_points` are the steps from which attempts go on. `told` is called with the steps read so far."""
    points = sorted(set(resume_points))
    kept: dict[int, State] = {}
    worst: dict[str, Severity] = {}
    alarms: list[Alarm] = []
    steps = 0
    for attempt in tries:
        state = State() if attempt.resumed_from is None else cut(kept.get(attempt.resumed_from, State()))
        for chunk in attempt.chunks:
            for piece in _parted(chunk, points):
                kept |= {point: state for point in points if state.upto <= point < piece[0].step}
                seen = advance(state, piece, rules, limits)
                for rule, metric, mark in sorted(seen.marks, key=lambda one: one[2].step):
                    if mark.severity > worst.get(rule, 0):
                        worst[rule] = mark.severity
                        alarms.append(_alarm(rule, metric, mark, attempt.number, piece, steps))
                state = seen.state
                steps += len(piece)
            told(steps)
        kept |= {point: state for point in points if point >= state.upto}
    return Replayed(steps, tuple(alarms))


def _parted(chunk: Sequence[Sample], points: Sequence[int]) -> list[Sequence[Sample]]:
    """Cut behind each resume point, so that the state there can be kept."""
    steps = [sample.step for sample in chunk]
    edges = sorted({0, len(chunk), *(bisect_left(steps, point + 1) for point in points)})
    return [chunk[low:high] for low, high in pairwise(edges)]


def _alarm(rule: str, metric: str, mark: Mark, attempt: int, piece: Sequence[Sample], before: int) -> Alarm:
    at = bisect_left(piece, mark.step, key=lambda sample: sample.step)
    return Alarm(
        rule,
        mark.severity,
        metric,
        attempt,
        mark.step,
        before + at + 1,
        piece[at].time,
        mark.value,
        mark.threshold,
    )
