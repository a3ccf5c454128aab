"""Read steps with all rules: state in, steps in; state and findings out. Pure.

The state is plain JSON, and its size depends on the rules and the metrics they read, not on the length of the run;
so does the cost of a step. A rule that breaks is logged and passed over.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any, Final

from .core import EVERY_METRIC, EVERY_STEP, Finding, Mark, Point, Rule, Sample, Severity, Value
from .rules.nan_inf import WATCHED
from .statistics import finite

logger = logging.getLogger(__name__)

MOST_TOLD: Final = 100
_broken: set[str] = set()

VERSION: Final = 1
"""Of the rules and their states: with another one a run is read anew."""
MOST_FINDINGS: Final = 50
"""Of one rule at one metric. What flickers for longer goes on in the last of them."""

Limits = Mapping[str, Mapping[str, float]]
"""Rule -> limit -> value, where it is not the rule's own."""


@dataclass(frozen=True)
class State:
    """`upto` is the last step read, `seen` those of its metrics that some rule reads: a second line may bring more.

    `metrics`: rule -> metric -> what the rule remembers. `windows`: the same -> the open finding. `counts`: the same
    -> how many findings there are.
    """

    upto: int = -1
    seen: frozenset[str] = frozenset()
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    windows: Mapping[str, Mapping[str, Finding]] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "upto": self.upto,
            "seen": sorted(self.seen),
            "metrics": {
                rule: {name: sound(asdict(one)) if is_dataclass(one) else None for name, one in found.items()}  # type: ignore[arg-type]
                for rule, found in self.metrics.items()
            },
            "windows": {
                rule: {name: {**asdict(one), "severity": int(one.severity)} for name, one in found.items()}
                for rule, found in self.windows.items()
            },
            "counts": {rule: dict(found) for rule, found in self.counts.items()},
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any], rules: Mapping[str, Rule]) -> "State | None":
        """None for a state of other rules than these: the run has to be read anew."""
        if body.get("version") != VERSION or not set(body["metrics"]) <= set(rules):
            return None
        return cls(
            body["upto"],
            frozenset(body["seen"]),
            {
                rule: {name: _restored(rules[rule].begin(), one) for name, one in found.items()}
                for rule, found in body["metrics"].items()
            },
            {
                rule: {name: Finding(**{**one, "severity": Severity(one["severity"])}) for name, one in found.items()}
                for rule, found in body["windows"].items()
            },
            body["counts"],
        )


def _restored(fresh: Any, body: Mapping[str, Any] | None) -> Any:
    """A rule's state from JSON, where a tuple is a list."""
    if body is None or fresh is None:
        return fresh
    return replace(fresh, **{name: _frozen(value) for name, value in body.items()})


def sound(value: Any) -> Any:
    """The same of anything that has to fit into JSON, which knows finite numbers alone."""
    match value:
        case float():
            return finite(value)
        case dict():
            return {key: sound(item) for key, item in value.items()}
        case tuple() | list():
            return [sound(item) for item in value]
    return value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Seen:
    """`late` says that a step came which lies before what was read: the run has to be read anew. `marks` are those
    that made the findings, by rule and metric, each ascending."""

    state: State
    findings: tuple[Finding, ...]
    late: bool = False
    marks: tuple[tuple[str, str, Mark], ...] = ()


def advance(state: State, samples: Sequence[Sample], rules: Mapping[str, Rule], limits: Limits | None = None) -> Seen:
    """The state after these samples, given in ascending order, and every finding that began, changed or ended."""
    late = any(sample.step < state.upto for sample in samples)
    fresh = [found for sample in samples if (found := _unread(state, sample)) is not None]
    if not fresh:
        return Seen(state, (), late)
    names = frozenset().union(*(sample.values for sample in fresh))
    metrics = {rule: dict(found) for rule, found in state.metrics.items()}
    windows = {rule: dict(found) for rule, found in state.windows.items()}
    counts = {rule: dict(found) for rule, found in state.counts.items()}
    told: dict[tuple[str, str, int], Finding] = {}
    given: list[tuple[str, str, Mark]] = []
    odd = {name for sample in fresh for name, value in sample.values.items() if isinstance(value, str)}
    for rule in rules.values():
        known = metrics.setdefault(rule.name, {})
        set_limits = {**rule.limits, **(limits or {}).get(rule.name, {})}
        for metric in _read_by(rule, fresh, names, known, odd, windows.get(rule.name, {})):
            points = _points(fresh, metric)
            before = known.get(metric, rule.begin())
            marks: list[Mark] = []
            try:
                known[metric], marks = rule.read(before, points, set_limits)
                marks = [Mark(*sound(mark)) for mark in marks]
            except ArithmeticError:
                # Figures beyond what there are numbers for: the rule goes on with the next, and the others read these.
                known[metric] = before
            except Exception as error:
                # Somebody's rule is broken: that must keep neither the other rules nor the run's metrics.
                known[metric], marks = before, []
                _told_broken(rule, error)
            window = windows.get(rule.name, {}).get(metric)
            if not marks and window is None:
                continue
            count = counts.setdefault(rule.name, {}).get(metric, 0)
            window, count, changed = _windows(rule, metric, window, count, points, marks)
            counts[rule.name][metric] = count
            told |= {finding.key: finding for finding in changed}
            given.extend((rule.name, metric, mark) for mark in marks)
            windows.setdefault(rule.name, {}).pop(metric, None)
            if window is not None:
                windows[rule.name][metric] = window
    last = fresh[-1]
    seen = _readable(last.values, rules.values()) | (state.seen if last.step == state.upto else frozenset())
    return Seen(State(last.step, seen, metrics, windows, counts), tuple(told.values()), late, tuple(given))


def _readable(values: Mapping[str, Value], rules: Iterable[Rule]) -> frozenset[str]:
    """The names among these that some rule reads, and those of values that are not finite."""
    aliases = {alias for rule in rules for alias in rule.aliases}
    return frozenset(name for name, value in values.items() if name in aliases or isinstance(value, str))


def _unread(state: State, sample: Sample) -> Sample | None:
    """What of a sample has not been read. The last step's second line has metrics that the first had not."""
    if sample.step > state.upto:
        return sample
    if sample.step < state.upto:
        return None
    values = {name: value for name, value in sample.values.items() if name not in state.seen}
    return sample._replace(values=values) if values else None


def _points(samples: Iterable[Sample], metric: str) -> list[Point]:
    if not metric:
        return [Point(s.step, 0, s.time, s.values, metric) for s in samples]
    return [
        Point(s.step, value, s.time, s.values, metric) for s in samples if (value := s.values.get(metric)) is not None
    ]


def _told_broken(rule: Rule, error: Exception) -> None:
    """Once in a process for each way: it comes again with every step of every run."""
    way = f"{rule.name}: {error!r}"
    if way not in _broken and len(_broken) < MOST_TOLD:
        _broken.add(way)
        logger.error("The rule %s cannot be read with", rule.name, exc_info=error)


def _read_by(
    rule: Rule,
    samples: Sequence[Sample],
    names: frozenset[str],
    known: Mapping[str, Any],
    odd: set[str],
    windows: Mapping[str, Finding],
) -> list[str]:
    """The metrics that a rule reads among these names."""
    if rule.aliases is EVERY_METRIC:
        # Only what is not finite, and what was: nothing has to be remembered of the other names.
        return sorted(name for name in names if (name in odd and WATCHED.search(name)) or name in windows)
    if rule.aliases is EVERY_STEP:
        return [""]
    found = [alias for alias in rule.aliases if alias in names]
    if rule.each:
        return found
    # Whichever alias was met first stays: another of its names would be read as one and the same series.
    first = next(iter(known), None)
    if first is not None:
        return [first] if first in names else []
    # The step that had one first decides, however many steps came at a time.
    return next((here for sample in samples if (here := [alias for alias in found if alias in sample.values][:1])), [])


def _windows(
    rule: Rule, metric: str, window: Finding | None, count: int, points: Sequence[Point], marks: Sequence[Mark]
) -> tuple[Finding | None, int, list[Finding]]:
    """Put marks together to findings; the one that is open in the end, how many there are, and those that changed."""
    by_step = {mark.step: mark for mark in marks}
    changed: dict[int, Finding] = {}
    for point in points:
        mark = by_step.get(point.step)
        if mark is None:
            if window is not None and window.open:
                silent = window.silent + 1
                window = replace(window, silent=silent, open=silent < rule.quiet)
                if not window.open:
                    changed[window.start_step] = window
        elif window is None or not (window.open or count >= MOST_FINDINGS):
            count += 1
            window = begun(rule, metric, mark)
            changed[window.start_step] = window
        else:
            window = joined(window, mark)
            changed[window.start_step] = window
    if window is not None and not window.open and count < MOST_FINDINGS:
        window = None
    return window, count, list(changed.values())


def cut(state: State) -> State:
    """The state with which another attempt goes on: what was open belongs to the one before."""
    return replace(state, windows={}, seen=frozenset())


def begun(rule: Rule, metric: str, mark: Mark) -> Finding:
    """The finding that begins with a mark."""
    return Finding(
        rule.name, metric, mark.step, mark.step, mark.severity, mark.value, mark.threshold, mark.code, mark.params
    )


def joined(window: Finding, mark: Mark) -> Finding:
    """A finding that goes on. It tells of the worst of its marks, and of the first of equals."""
    longer = replace(window, end_step=max(window.end_step, mark.step), silent=0, open=True)
    if not _is_worse(mark, window):
        return longer
    return replace(
        longer,
        severity=mark.severity,
        value=mark.value,
        threshold=mark.threshold,
        code=mark.code,
        params=mark.params,
    )


def _is_worse(mark: Mark, known: Finding) -> bool:
    """By severity; then by how far beyond its threshold the value is, where both are numbers that say the same."""
    if mark.severity != known.severity or mark.code != known.code:
        return mark.severity > known.severity
    beyond, so_far = _beyond(mark.value, mark.threshold), _beyond(known.value, known.threshold)
    return beyond is not None and so_far is not None and beyond > so_far


def _beyond(value: Value, threshold: float | None) -> float | None:
    """In multiples of the threshold, as it may have moved meanwhile."""
    if isinstance(value, str) or not threshold:
        return None
    return abs(value - threshold) / abs(threshold)
