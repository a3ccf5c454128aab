"""The values that rules and the engine exchange. Frozen, and free of Django."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple

from platform_site.common.severity import Severity as Severity

Value = int | float | str
"""A number, or "NaN", "Infinity", "-Infinity"."""

SFT: Final = "sft"
DPO: Final = "dpo"
GRPO: Final = "grpo"
GSPO: Final = "gspo"
"""GRPO with a ratio for whole answers: it clips otherwise than GRPO, and everything else holds for both."""
BY_REWARD: Final = frozenset({GRPO, GSPO})
BY_LOSS: Final = frozenset({SFT, DPO})
ALL: Final = BY_REWARD | BY_LOSS


EVERY_METRIC: Final = ("*",)
"""For a rule that reads whatever is not finite."""
EVERY_STEP: Final = ("",)
"""For a rule that reads when steps come, and no metric."""


def gettext_noop(text: str) -> str:
    """Marks a sentence for the message catalogue. The layers that know a language translate it."""
    return text


class Sample(NamedTuple):
    """One step as logged. `time` in seconds since the epoch by the trainer's clock."""

    step: int
    time: float | None
    values: Mapping[str, Value]


class Point(NamedTuple):
    """One value of the metric that a rule reads, and all that was logged with it."""

    step: int
    value: Value
    time: float | None
    values: Mapping[str, Value]
    metric: str


class Mark(NamedTuple):
    """A step at which a rule sees something wrong.

    `value` and `threshold` are those that were compared; what is no number has no threshold. `code` names the rule's
    message, `params` fill it beside `metric`, `step`, `value` and `threshold`; they have to fit into JSON.
    """

    step: int
    severity: Severity
    value: Value
    threshold: float | None
    code: str = "message"
    params: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Advice:
    """What to try. `knob` names the parameter that would change it (see `knobs`), `times` or `to` how: by a factor,
    or to a value. `codes` are the messages that it answers, where not all."""

    template: str
    knob: str = ""
    times: float | None = None
    to: float | bool | None = None
    codes: Sequence[str] = ()

    def concerns(self, code: str) -> bool:
        return not self.codes or code in self.codes


@dataclass(frozen=True)
class Case:
    """What a finding with one of the rule's messages is called, and why it matters, where the rule sees several
    things. Without `why` it is the rule's."""

    title: str
    why: str = ""


@dataclass(frozen=True)
class Learns:
    """A limit that healthy runs of the same kind can set (see `learning`), between `least` and `most`.

    The rule marks what lies above it, or with `below` what lies below it, and gives the mark a threshold that grows
    with the limit. `along` are limits that move by the same factor; `codes` the messages that speak of it, where not
    all do.
    """

    limit: str
    least: float
    most: float
    below: bool = False
    along: Sequence[str] = ()
    codes: Sequence[str] = ()

    def concerns(self, code: str) -> bool:
        return not self.codes or code in self.codes


State = Any
"""What a rule remembers of one metric: a frozen dataclass of its own, small and the same size at any step."""


class Rule(ABC):
    """One thing that goes wrong in training.

    `aliases` are the metric's names, the preferred one first; EVERY_METRIC and EVERY_STEP stand alone. With `each`
    every one that is logged is read, otherwise the first of them. `quiet` points without a mark end a finding.
    `limits` are the thresholds, which settings may replace, and what healthy runs teach where the rule `learns`.
    `title` names the rule, and its findings unless `cases` does by the code of their message.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    why: ClassVar[str]
    messages: ClassVar[Mapping[str, str]]
    cases: ClassVar[Mapping[str, Case]] = {}
    advice: ClassVar[Sequence[Advice]] = ()
    algorithms: ClassVar[frozenset[str]] = ALL
    aliases: ClassVar[Sequence[str]] = ()
    each: ClassVar[bool] = False
    quiet: ClassVar[int] = 5
    limits: ClassVar[Mapping[str, float]] = {}
    learns: ClassVar[Learns | None] = None

    @abstractmethod
    def begin(self) -> State:
        """Of a metric before its first step."""

    @abstractmethod
    def read(self, state: State, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[State, list[Mark]]:
        """What these points, ascending and newer than all before, show. `state` stays as it is: a new one is given
        back."""


@dataclass(frozen=True)
class Finding:
    """A rule's marks at one metric that belong together: from where to where, and the worst of them."""

    rule: str
    metric: str
    start_step: int
    end_step: int
    severity: Severity
    value: Value
    threshold: float | None
    code: str = "message"
    params: Mapping[str, Any] = field(default_factory=dict)
    open: bool = True
    silent: int = 0
    """Points since the last mark."""

    @property
    def key(self) -> tuple[str, str, int]:
        return self.rule, self.metric, self.start_step
