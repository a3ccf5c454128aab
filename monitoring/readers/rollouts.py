"""A rollout file, of any size and in any state, in bounded memory. Knows neither models nor where files are.

`survey` reads a file once and keeps of each sample where it stands and what it was given; `sample` reads one of them
whole. The form is `platform_runtime.rollouts`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import orjson

from platform_runtime.message import ContractError
from platform_runtime.rollouts import Sample

MOST_LINE: Final = 4 << 20
"""Bytes of one sample. An answer of 100,000 tokens is about 500 KB."""
MOST_FILE: Final = 128 << 20
"""Bytes of a step that are read: what stands behind them is said to be left out."""
MOST_LINES: Final = 100_000
MOST_TOLD: Final = 20
"""Bad lines that are told one by one."""
REASON: Final = 200


class Lines(Protocol):
    """What `survey` needs of a file that is open at its beginning."""

    def readline(self, size: int, /) -> bytes: ...


class Place(NamedTuple):
    """A sample of a file: `offset` and `length` of its line in bytes. `reward` may be no finite number."""

    offset: int
    length: int
    group: int
    sample: int
    tokens: int
    reward: float


class Bad(NamedTuple):
    """A line that is no sample of the step; the first is line 1."""

    line: int
    reason: str


@dataclass
class Survey:
    """`bad` are the first of `bad_lines`. `cut`: the file goes on behind what was read."""

    places: list[Place] = field(default_factory=list)
    bad_lines: int = 0
    bad: list[Bad] = field(default_factory=list)
    cut: bool = False


@dataclass(frozen=True)
class Figures:
    """What a step came to. The rewards are those that are numbers; None where there are none."""

    samples: int
    groups: int
    reward_min: float | None
    reward_mean: float | None
    reward_max: float | None


def survey(file: Lines, step: int, limit: int = MOST_FILE) -> Survey:
    """All samples of a step's file. A line that is broken, too long or of another step is counted and told, and hides
    none of the others. Raises what the file raises."""
    found = Survey()
    offset = number = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        length = len(line)
        whole = line.endswith(b"\n") or length <= MOST_LINE
        while not whole and (more := file.readline(1 << 20)):
            length += len(more)
            whole = more.endswith(b"\n")
            if offset + length > limit:
                break
        if offset + length > limit or number > MOST_LINES:
            found.cut = True
            break
        try:
            if length > MOST_LINE:
                raise ContractError(f"longer than {MOST_LINE >> 20} MiB")
            one = sample(line, step)
        except ContractError as error:
            found.bad_lines += 1
            if len(found.bad) < MOST_TOLD:
                found.bad.append(Bad(number, str(error)[:REASON]))
        else:
            found.places.append(Place(offset, length, one.group, one.sample, one.tokens, number_of(one.reward)))
        offset += length
    return found


def sample(line: bytes, step: int) -> Sample:
    """The sample of one line. Raises ContractError, also when it is of another step."""
    # Not with the standard library, which takes NaN and half of a surrogate pair: neither could be sent on.
    try:
        body = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ContractError(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ContractError("no object")
    found = Sample.from_json(body)
    if found.step != step:
        raise ContractError(f"of step {found.step}, not {step}")
    return found


def number_of(value: float | int | str) -> float:
    """A reward as a number; "NaN" and the infinities too."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def figures(places: Iterable[Place]) -> Figures:
    samples, groups, rewards = 0, set(), []
    for place in places:
        samples += 1
        groups.add(place.group)
        if math.isfinite(place.reward):
            rewards.append(place.reward)
    if not rewards:
        return Figures(samples, len(groups), None, None, None)
    # Divided first: the sum of large rewards may be no number any more. Not by fsum, which refuses the largest.
    mean = sum(reward / len(rewards) for reward in rewards)
    low, high = min(rewards), max(rewards)
    return Figures(samples, len(groups), low, min(max(mean, low), high), high)


def between(places: Iterable[Place], low: float | None, high: float | None) -> list[Place]:
    """Those whose reward lies between, both included. With a bound, rewards that are no numbers do not."""
    if low is None and high is None:
        return list(places)
    return [
        place
        for place in places
        if math.isfinite(place.reward)
        and (low is None or place.reward >= low)
        and (high is None or place.reward <= high)
    ]


@dataclass(frozen=True)
class Group:
    """The answers to one prompt. `mean` and `spread` (highest less lowest) are None without a reward that is a
    number."""

    number: int
    places: tuple[Place, ...]
    mean: float | None
    spread: float | None


def grouped(places: Iterable[Place]) -> list[Group]:
    """By prompt, in the order of the file."""
    together: dict[int, list[Place]] = {}
    for place in places:
        together.setdefault(place.group, []).append(place)
    made = []
    for number, mine in together.items():
        found = figures(mine)
        spread = None
        if found.reward_min is not None and found.reward_max is not None:
            spread = found.reward_max - found.reward_min
        made.append(Group(number, tuple(mine), found.reward_mean, spread))
    return made


def _unknown_last(value: float | None, sign: int) -> tuple[bool, float]:
    return (False, sign * value) if value is not None and math.isfinite(value) else (True, 0.0)


ORDERS: Final[dict[str, Callable[[Place], tuple[object, ...]]]] = {
    "group": lambda place: (place.group, place.sample),
    "-group": lambda place: (-place.group, place.sample),
    "reward": lambda place: (*_unknown_last(place.reward, 1), place.group, place.sample),
    "-reward": lambda place: (*_unknown_last(place.reward, -1), place.group, place.sample),
    "tokens": lambda place: (place.tokens, place.group, place.sample),
    "-tokens": lambda place: (-place.tokens, place.group, place.sample),
}
"""How samples can be put in order."""

GROUP_ORDERS: Final[dict[str, Callable[[Group], tuple[object, ...]]]] = {
    "group": lambda group: (group.number,),
    "reward": lambda group: (*_unknown_last(group.mean, 1), group.number),
    "-reward": lambda group: (*_unknown_last(group.mean, -1), group.number),
    "-spread": lambda group: (*_unknown_last(group.spread, -1), group.number),
}
"""How groups can be put in order."""
