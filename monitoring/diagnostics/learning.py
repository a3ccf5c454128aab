"""Thresholds from healthy runs of the same kind. Pure.

Of each such run it is kept how far the figure went that a rule compares with its limit. The limit then lies four
deviations beyond the median of those: median and MAD, so that one odd run among them moves little.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .core import Learns, Mark, Rule, Sample
from .engine import Limits, State, advance, cut
from .levels import number
from .statistics import mad, median

LEAST_RUNS: Final = 5
"""With fewer the default stays."""
DEVIATIONS: Final = 4.0
_LEAST_SPREAD: Final = 0.1
"""Of the median: runs that are all alike would leave no room for the next."""
_LOW: Final = 1e-9
_HIGH: Final = 1e9

Reach = Mapping[str, float]
"""Rule -> how far its figure went in a run: the largest, or the smallest for a rule that looks for what is low."""


class Origin(StrEnum):
    """Where a threshold comes from: the rule itself, the settings, or healthy runs."""

    DEFAULT = "default"
    SETTINGS = "settings"
    LEARNT = "learnt"


@dataclass(frozen=True)
class Learnt:
    """`values` are the rule's limits as `runs` runs have them."""

    runs: int
    values: Mapping[str, float]


def reach(
    tries: Iterable[tuple[int, Sequence[Sample]]],
    rules: Mapping[str, Rule],
    *,
    told: Callable[[int], None] = lambda steps: None,
) -> dict[str, float]:
    """How far each rule's figure went in a run, given in chunks with their attempt. Rules that compared nothing
    are left out: of a metric that is not there, or of too few steps."""
    learning = {name: rule for name, rule in rules.items() if rule.learns is not None}
    probing = {name: _probe(rule.learns) for name, rule in learning.items() if rule.learns is not None}
    found: dict[str, float] = {}
    state, attempt, steps = State(), 0, 0
    for number_of, samples in tries:
        state = state if number_of == attempt else cut(state)
        attempt = number_of
        seen = advance(state, samples, learning, probing)
        state = seen.state
        for rule, _metric, mark in seen.marks:
            learns = learning[rule].learns
            assert learns is not None, "only such rules were asked"
            figure = _figure(learns, mark)
            if figure is not None:
                further = min if learns.below else max
                found[rule] = further(found.get(rule, figure), figure)
        steps += len(samples)
        told(steps)
    return found


def learn(reaches: Sequence[Reach], rules: Mapping[str, Rule]) -> dict[str, Learnt]:
    """The limits that runs of one kind set, for the rules that enough of them say something about."""
    found = {}
    for name, rule in rules.items():
        known = [reach[name] for reach in reaches if name in reach]
        if rule.learns is not None and len(known) >= LEAST_RUNS:
            found[name] = Learnt(len(known), _limits(rule, rule.learns, known))
    return found


def merged(limits: Limits, learnt: Mapping[str, Learnt]) -> Limits:
    """These limits, with what is learnt on top."""
    names = {*limits, *learnt}
    return {name: {**limits.get(name, {}), **(learnt[name].values if name in learnt else {})} for name in names}


def _limits(rule: Rule, learns: Learns, known: Sequence[float]) -> dict[str, float]:
    middle = median(list(known))
    room = DEVIATIONS * max(mad(list(known)), _LEAST_SPREAD * abs(middle))
    limit = min(learns.most, max(learns.least, middle - room if learns.below else middle + room))
    factor = limit / rule.limits[learns.limit]
    along = {name: rule.limits[name] * factor for name in learns.along}
    return {name: float(f"{value:.4g}") for name, value in {learns.limit: limit, **along}.items()}


def _probe(learns: Learns) -> dict[str, float]:
    """Limits with which a rule marks everything, and by no other limit than the one that is learnt."""
    never = -math.inf if learns.below else math.inf
    return {learns.limit: _HIGH if learns.below else _LOW, **dict.fromkeys(learns.along, never)}


def _figure(learns: Learns, mark: Mark) -> float | None:
    """What was compared, in the unit of the limit."""
    value = number(mark.value)
    if value is None or not mark.threshold or not learns.concerns(mark.code):
        return None
    return abs(value / mark.threshold) * (_HIGH if learns.below else _LOW)
