"""The run has become slow: below half of its own median for a while."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import Advice, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.levels import number
from monitoring.diagnostics.statistics import Sketch


@dataclass(frozen=True)
class State:
    """`median` is that of the sketch; `slow_for` counts points in a row below its share."""

    values: tuple[float, ...] = ()
    every: int = 1
    waiting: int = 0
    median: float = 0.0
    slow_for: int = 0


class ThroughputDrop(Rule):
    name: ClassVar = "throughput_drop"
    title: ClassVar = gettext_noop("The run has become slow")
    why: ClassVar = gettext_noop("Something else takes the machine, or the data have become longer: it ends later.")
    messages: ClassVar = {"message": gettext_noop("%(metric)s is %(value)s, below half of its median of %(median)s.")}
    advice: ClassVar = (
        Advice(gettext_noop("See what else runs on the host.")),
        Advice(gettext_noop("See whether the answers or the rows have become longer.")),
    )
    aliases: ClassVar = (
        "perf/throughput",
        "train/tokens_per_second",
        "tokens_per_second",
        "train/mfu",
        "train_tokens_per_second",
    )
    limits: ClassVar = {"share": 0.5, "held": 20, "least": 20}

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        sketch, median, slow_for = Sketch(state.values, state.every, state.waiting), state.median, state.slow_for
        share, held, least = limits["share"], limits["held"], limits["least"]
        marks = []
        for point in points:
            value = number(point.value)
            if value is None:
                continue
            known = len(sketch.values)
            if known >= least and value < share * median:
                slow_for += 1
                if slow_for >= held:
                    told = {"median": float(f"{median:.4g}")}
                    marks.append(Mark(point.step, Severity.WARNING, value, share * median, params=told))
            else:
                slow_for = 0
            sketch = sketch.add(value)
            if len(sketch.values) != known or sketch.waiting == 0:
                median = sketch.median
        return State(sketch.values, sketch.every, sketch.waiting, median, slow_for), marks


RULE: Final = ThroughputDrop()
