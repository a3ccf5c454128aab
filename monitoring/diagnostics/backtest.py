"""What a replayed run says of the rules: caught in time, missed, or cried wolf; and what that would have saved. Pure.

Which runs went well is not for the rules to say: a run counts as healthy when somebody called it good, or when it
completed, its trainer flagged nothing, and nobody called it bad or answered one of its findings with another run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from .core import Severity, Value
from .replay import Alarm, Replayed
from .statistics import median

HOUR_S: Final = 3600.0


class Ended(StrEnum):
    """How a run ended, or was judged. Of a doubtful one, which completed with something wrong, nothing is counted."""

    HEALTHY = "healthy"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BAD = "bad"
    DOUBTFUL = "doubtful"

    @property
    def broken(self) -> bool:
        return self in {Ended.FAILED, Ended.CANCELLED, Ended.BAD}


@dataclass(frozen=True)
class Spent:
    """What an attempt took: `seconds` in all, on so many GPUs. `began_at` is on the clock that its steps have, in
    seconds since the epoch; None where nobody knows."""

    attempt: int
    seconds: float
    gpus: int = 0
    began_at: float | None = None


@dataclass(frozen=True)
class Past:
    ended: Ended
    spent: Sequence[Spent]

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.spent)


@dataclass(frozen=True)
class Verdict:
    """What one rule said of one run; plain JSON as a dictionary.

    `severity` to `threshold` are of its first alarm at all, `acted_step` and `acted_severity` of the first that is
    heavy enough to end a run. `lead_steps` and `lead_s` are from that one, else from the first, to the end of the run;
    None where nobody knows when the step was. `gpu_hours` and `cpu_hours` are what the run would not have used, had it
    been ended there, which counts as saved where it did not end well; without a GPU an hour of the run is one of a CPU,
    whatever cores it had.
    """

    rule: str
    severity: str
    metric: str
    attempt: int
    step: int
    value: Value
    threshold: float | None
    acted_step: int | None
    acted_severity: str
    lead_steps: int
    lead_s: float | None
    false_alarm: bool
    gpu_hours: float
    cpu_hours: float

    @property
    def acted(self) -> bool:
        return self.acted_step is not None


def verdicts(replayed: Replayed, past: Past, least: Severity) -> list[Verdict]:
    """One for each rule that said something, in the order in which they would have ended the run."""
    found = []
    for rule in dict.fromkeys(alarm.rule for alarm in replayed.alarms):
        alarm = replayed.first(rule, Severity.INFO)
        assert alarm is not None, "the rule was taken from an alarm"
        acted = replayed.first(rule, least)
        counted = acted or alarm
        left = _left(counted, past.spent)
        saved = left if acted is not None else []
        found.append(
            (
                (acted is None, counted.ordinal, rule),
                Verdict(
                    rule=rule,
                    severity=alarm.severity.word,
                    metric=alarm.metric,
                    attempt=alarm.attempt,
                    step=alarm.step,
                    value=alarm.value,
                    threshold=alarm.threshold,
                    acted_step=acted.step if acted is not None else None,
                    acted_severity=acted.severity.word if acted is not None else "",
                    lead_steps=replayed.steps - counted.ordinal,
                    lead_s=sum(seconds for seconds, _gpus in left) if left else None,
                    false_alarm=acted is not None and past.ended is Ended.HEALTHY,
                    gpu_hours=sum(seconds * gpus for seconds, gpus in saved) / HOUR_S,
                    cpu_hours=sum(seconds for seconds, gpus in saved if not gpus) / HOUR_S,
                ),
            )
        )
    return [verdict for _key, verdict in sorted(found, key=lambda one: one[0])]


def judged(found: Iterable[Verdict], ended: Ended) -> list[Verdict]:
    """The same verdicts on a run that is seen otherwise now."""
    return [replace(one, false_alarm=one.acted and ended is Ended.HEALTHY) for one in found]


def _left(alarm: Alarm, spent: Sequence[Spent]) -> list[tuple[float, int]]:
    """Seconds and GPUs of what came after an alarm: the rest of its attempt, and all later ones. Empty where nobody
    knows when its step was."""
    own = next((one for one in spent if one.attempt == alarm.attempt), None)
    if own is None or own.began_at is None or alarm.time is None:
        return []
    rest = min(own.seconds, max(0.0, own.seconds - (alarm.time - own.began_at)))
    return [(rest, own.gpus), *((one.seconds, one.gpus) for one in spent if one.attempt > alarm.attempt)]


@dataclass(frozen=True)
class Line:
    """A run as far as the summary goes."""

    ended: Ended
    verdicts: Sequence[Verdict]


@dataclass(frozen=True)
class Score:
    """A rule over all runs. `rule` is empty for all rules together, of which the first to act counts in each run.

    `fired`: runs of which it said anything. `caught` of `broken` runs and `false_alarms` of `healthy` ones: by alarms
    heavy enough to end a run. Leads are medians over what was caught, None where nothing was.
    """

    rule: str
    fired: int
    caught: int
    broken: int
    false_alarms: int
    healthy: int
    lead_steps: float | None
    lead_s: float | None
    gpu_hours: float
    cpu_hours: float


def scores(lines: Sequence[Line], rules: Iterable[str]) -> tuple[Score, list[Score]]:
    """All rules together, and each: what caught most first."""
    every = [_score(rule, lines, [[v for v in line.verdicts if v.rule == rule] for line in lines]) for rule in rules]
    together = _score("", lines, [line.verdicts for line in lines])
    return together, sorted(every, key=lambda one: (-one.caught, one.false_alarms, -one.fired, one.rule))


def _score(rule: str, lines: Sequence[Line], said: Sequence[Sequence[Verdict]]) -> Score:
    caught = [
        next(one for one in given if one.acted)
        for line, given in zip(lines, said, strict=True)
        if line.ended.broken and any(one.acted for one in given)
    ]
    seconds = [one.lead_s for one in caught if one.lead_s is not None]
    return Score(
        rule=rule,
        fired=sum(bool(given) for given in said),
        caught=len(caught),
        broken=sum(line.ended.broken for line in lines),
        false_alarms=sum(any(one.false_alarm for one in given) for given in said),
        healthy=sum(line.ended is Ended.HEALTHY for line in lines),
        lead_steps=median([float(one.lead_steps) for one in caught]) if caught else None,
        lead_s=median(seconds) if seconds else None,
        gpu_hours=sum(one.gpu_hours for one in caught),
        cpu_hours=sum(one.cpu_hours for one in caught),
    )
