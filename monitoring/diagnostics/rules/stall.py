"""No new step for far longer than steps take. Source: miles. Points teach how long that is; the clock judges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from monitoring.diagnostics.core import EVERY_STEP, Advice, Mark, Point, Rule, Severity, gettext_noop
from monitoring.diagnostics.statistics import Sketch


@dataclass(frozen=True)
class State:
    """Seconds between steps, and when the last one was, by the trainer's clock."""

    values: tuple[float, ...] = ()
    every: int = 1
    waiting: int = 0
    last: float | None = None


class Stall(Rule):
    name: ClassVar = "stall"
    title: ClassVar = gettext_noop("No new step")
    why: ClassVar = gettext_noop(
        "The trainer lives and does nothing: it waits for another process, for data or a lock, or was stopped."
    )
    messages: ClassVar = {
        "message": gettext_noop("No step has come for %(idle)s s after step %(step)s; one takes %(median)s s.")
    }
    advice: ClassVar = (
        Advice(gettext_noop("Look at where the trainer stands: the evidence has the stack of its threads.")),
        Advice(gettext_noop("Cancel it and retry the stage: it goes on from its last checkpoint.")),
    )
    aliases: ClassVar = EVERY_STEP
    limits: ClassVar = {"factor": 6.0, "after_s": 1800.0}

    def begin(self) -> State:
        return State()

    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        sketch, last = Sketch(state.values, state.every, state.waiting), state.last
        for point in points:
            if point.time is None:
                continue
            # A clock that was set back tells nothing.
            if last is not None and point.time > last:
                sketch = sketch.add(point.time - last)
            last = point.time
        return State(sketch.values, sketch.every, sketch.waiting, last), []

    def judge(self, state: State, step: int, idle_s: float, limits: Mapping[str, float]) -> Mark | None:
        """What it means that nothing has come for `idle_s` seconds since `step`. Before the second step, nothing."""
        if not state.values:
            return None
        median = Sketch(state.values).median
        limit = max(limits["factor"] * median, limits["after_s"])
        if idle_s <= limit:
            return None
        told = {"idle": round(idle_s), "median": float(f"{median:.3g}")}
        return Mark(step, Severity.ERROR, idle_s, limit, params=told)


RULE: Final = Stall()
