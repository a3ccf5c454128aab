"""What the page of rollouts shows, made of samples and points. Pure.

Whatever a model or a dataset wrote is text here, and nothing but text: it is folded where it is long, and characters
that could make it look like something else are shown as what they are.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monitoring.readers.rollouts import Group, Place, number_of
from monitoring.rollout_selectors import Point
from platform_runtime.rollouts import Sample

HEAD: Final = 360
TAIL: Final = 240
"""Characters shown of a long text, of its beginning and its end: where an answer ends it says its result."""
FOLD_FROM: Final = 800
MOST_TEXT: Final = 20_000
"""Characters of one text on a page with many."""
MOST_ALONE: Final = 500_000
"""The same where one prompt is looked at alone."""
MOST_CHIPS: Final = 8

_HIDDEN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """With control characters, and those that turn the direction of what follows, by name: "⟨U+202E⟩"."""
    return _HIDDEN.sub(lambda found: f"\u27e8U+{ord(found[0]):04X}\u27e9", text)


@dataclass(frozen=True)
class Text:
    """A text in three parts, of which the middle may be folded away; `left_out` characters are not shown at all."""

    head: str
    middle: str = ""
    tail: str = ""
    left_out: int = 0

    @property
    def folded(self) -> int:
        return len(self.middle)


def text_of(value: str, most: int = MOST_TEXT) -> Text:
    """At most `most` characters of it. What is left out, and what is folded, is its middle: the end is the end."""
    if len(value) <= FOLD_FROM:
        return Text(plain(value))
    left_out = max(0, len(value) - most)
    end = _last_break(value, len(value) - TAIL)
    start = _first_break(value, HEAD)
    middle = value[start : end - left_out] if left_out < end - start else ""
    return Text(plain(value[:start]), plain(middle), plain(value[end:]), left_out)


def _first_break(value: str, near: int) -> int:
    """Where the beginning ends: behind the last line end or blank before `near`, if that is not too far."""
    found = (value.rfind(mark, near // 2, near) for mark in ("\n", " "))
    return next((at + 1 for at in found if at >= 0), near)


def _last_break(value: str, near: int) -> int:
    """Where the end begins: behind the first line end or blank from `near` on, if that is not too far."""
    found = (value.find(mark, near, near + TAIL // 2) for mark in ("\n", " "))
    return next((at + 1 for at in found if at >= 0), near)


@dataclass(frozen=True)
class Turn:
    role: str
    text: Text


def turns_of(prompt: Iterable[dict[str, Any]], most: int = MOST_TEXT) -> list[Turn]:
    return [
        Turn(plain(_words(one.get("role", "")))[:40], text_of(_words(one.get("content", "")), most)) for one in prompt
    ]


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Answer:
    """`tone`: how its reward compares with those of the step."""

    number: int
    reward: float
    tone: str
    parts: list[tuple[str, float]]
    text: Text
    tokens: int


@dataclass(frozen=True)
class Card:
    """A prompt and the answers to it. `asked` answers were given, `answers` are those that are shown."""

    number: int
    row: int | None
    prompt: list[Turn]
    truth: Text | None
    answers: list[Answer]
    asked: int
    matching: int
    mean: float | None
    spread: float | None

    @property
    def hidden(self) -> int:
        return self.matching - len(self.answers)


def card_of(
    group: Group,
    shown: Sequence[Place],
    samples: Sequence[Sample],
    low: float | None,
    high: float | None,
    most: int = MOST_TEXT,
) -> Card:
    """`shown` of the group's answers match the filter; `samples` are the first of those. `low` and `high` are the
    step's."""
    first = samples[0]
    return Card(
        number=group.number,
        row=first.row,
        prompt=turns_of(first.prompt, most),
        truth=None if first.answer in (None, "") else text_of(_words(first.answer), most),
        answers=[
            Answer(
                one.sample,
                number_of(one.reward),
                tone_of(number_of(one.reward), low, high),
                [(plain(name)[:80], number_of(value)) for name, value in one.parts.items()],
                text_of(one.response, most),
                one.tokens,
            )
            for one in samples
        ],
        asked=len(group.places),
        matching=len(shown),
        mean=group.mean,
        spread=group.spread,
    )


def tone_of(reward: float, low: float | None, high: float | None) -> str:
    if not math.isfinite(reward):
        return "odd"
    if low is None or high is None or low == high:
        return ""
    share = (reward - low) / (high - low)
    return "good" if share > 2 / 3 else "poor" if share < 1 / 3 else "fair"


def exact(value: float) -> str:
    """A number in an address or a field: read back it is the same."""
    return repr(value).removesuffix(".0")


@dataclass(frozen=True)
class Chip:
    """A reward that some answers got. `text` is exact, for an address."""

    reward: float
    count: int

    @property
    def text(self) -> str:
        return exact(self.reward)


def chips_of(places: Iterable[Place]) -> list[Chip]:
    """The rewards that were given, from the lowest; none where there are too many to choose from."""
    counted = Counter(place.reward for place in places if math.isfinite(place.reward))
    return [Chip(reward, counted[reward]) for reward in sorted(counted)] if 1 < len(counted) <= MOST_CHIPS else []


WIDTH: Final = 1000
HEIGHT: Final = 120


@dataclass(frozen=True)
class Curve:
    """Rewards by step in a picture of WIDTH x HEIGHT: `band` from the lowest to the highest, `line` the mean. Steps
    reach from `first` to `end`."""

    first: int
    end: int
    newest: int
    low: float
    high: float
    mean: float
    band: str
    line: str
    points: tuple[Point, ...]

    @property
    def data(self) -> str:
        """JSON: [first, last, low, mean, high] of each point."""
        return json.dumps([[point.first, point.last, point.low, point.mean, point.high] for point in self.points])


def curve_of(points: Sequence[Point], target: int | None) -> Curve | None:
    """With the steps that are still to come, so that it fills from the left while a run goes on."""
    if not points:
        return None
    first, newest = points[0].first, points[-1].last
    end = max(newest, target or 0, first + 1)
    low, high = min(point.low for point in points), max(point.high for point in points)
    bottom, top = (low, high) if low < high else (low - 0.5, high + 0.5)

    def at(step: int, value: float) -> str:
        # Halved first: the distance of two large rewards may be no number any more.
        share = (value / 2 - bottom / 2) / (top / 2 - bottom / 2)
        return f"{(step - first) / (end - first) * WIDTH:.1f},{HEIGHT - share * HEIGHT:.1f}"

    above = [at(point.last, point.high) for point in points]
    below = [at(point.last, point.low) for point in reversed(points)]
    return Curve(
        first=first,
        end=end,
        newest=newest,
        low=low,
        high=high,
        mean=points[-1].mean,
        band=" ".join(above + below),
        line=" ".join(at(point.last, point.mean) for point in points),
        points=tuple(points),
    )
