"""From the bytes of a metrics file to its steps. Pure: nothing here knows files or databases.

A file may be handed over in pieces cut anywhere: the lines found, and the bad ones with their offsets, are the
same. Only whole lines are taken; a line that is too long is passed over without ever being held in memory.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import orjson


def gettext_noop(text: str) -> str:
    """Marks a sentence for the message catalogue. The layers that know a language translate it."""
    return text


NOT_JSON: Final = gettext_noop("not JSON")
MAX_LINE: Final = 1 << 20
"""Bytes, without the newline. A step of 10,000 metrics is about 400 KB."""
MAX_NAME: Final = 200
MAX_NAMES: Final = 1000
"""Metric names of one stream. More would be a mistake of the trainer's, such as a name with the step in it."""
MAX_STEP: Final = 2**53
EXCERPT: Final = 100
MESSAGE: Final = 2000

Value = int | float | str
"""A number, or one of NON_FINITE."""
NON_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})


@dataclass(frozen=True, slots=True)
class Anomaly:
    type: str
    message: str


@dataclass(slots=True)
class Step:
    """One line, or several of the same step merged: the last value of each metric."""

    step: int
    time: float | None
    values: dict[str, Value]
    anomaly: Anomaly | None = None


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that could not be used. `offset` is that of its first byte in the file."""

    offset: int
    reason: str
    excerpt: str


@dataclass(slots=True)
class Parsed:
    """`consumed` bytes are done with. With `skip_from` the next byte is still inside the long line from there."""

    lines: list[Step] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    consumed: int = 0
    skip_from: int | None = None
    dropped: set[str] = field(default_factory=set)
    """Excerpts of metric names whose value is no number, or that are no names."""
    names: set[tuple[str, ...]] = field(default_factory=set)
    """What the lines have metrics of: each set of names once, in each order in which it was logged."""


class Unusable(ValueError):
    """Why a line cannot be used."""


def parse(data: bytes, offset: int = 0, skip_from: int | None = None, most: float = math.inf) -> Parsed:
    """Read the whole lines of `data`, which stands at `offset` of the file, until there are `most` good ones."""
    found = Parsed(skip_from=skip_from)
    position = 0
    if skip_from is not None:
        end = data.find(b"\n")
        if end < 0:
            found.consumed = len(data)
            return found
        position, found.skip_from = end + 1, None
    while len(found.lines) < most:
        end = data.find(b"\n", position)
        if end < 0:
            break
        line = data[position:end]
        if len(line) > MAX_LINE:
            found.bad.append(_too_long(line, offset + position))
        elif line and not line.isspace():
            try:
                step = _usual(line, found.names)
                if step is None:
                    step = parse_line(line, found.dropped)
                    found.names.add(tuple(step.values))
                found.lines.append(step)
            except Unusable as error:
                found.bad.append(Bad(offset + position, str(error), _excerpt(line)))
        position = end + 1
    if len(found.lines) < most and len(data) - position > MAX_LINE:
        found.bad.append(_too_long(data[position:], offset + position))
        found.skip_from, position = offset + position, len(data)
    found.consumed = position
    return found


def _usual(line: bytes, names: set[tuple[str, ...]]) -> Step | None:
    """The step of a line that has nothing unusual: nearly all of them, in a third of the time."""
    try:
        body = orjson.loads(line)
        step, time, metrics = body["step"], body["time"], body["metrics"]
        # orjson gives finite numbers of 64 bits alone; adding them up is the quickest way to see that all are some.
        sum(metrics.values())
        if type(step) is int and 0 <= step <= MAX_STEP and type(time) is float and len(body) == 4 and body["v"] == 1:
            logged = tuple(metrics)
            if logged not in names:
                if not _are_names(logged):
                    return None
                names.add(logged)
            return Step(step, time, metrics)
    except (TypeError, KeyError, AttributeError, orjson.JSONDecodeError):
        pass
    return None


def parse_line(line: bytes, dropped: set[str]) -> Step:
    """Raises Unusable. Metrics that are none are left out and named in `dropped`."""
    body = _load(line)
    if not isinstance(body, dict):
        raise Unusable(gettext_noop("not a JSON object"))
    if body.get("v", 1) != 1:
        raise Unusable(gettext_noop("unknown version of the format"))
    step, metrics, anomaly = body.get("step"), body.get("metrics"), body.get("anomaly")
    if type(step) is not int or not 0 <= step <= MAX_STEP:
        raise Unusable(gettext_noop("no valid step"))
    if metrics is None and anomaly is not None:
        metrics = {}
    if not isinstance(metrics, dict):
        raise Unusable(gettext_noop("no metrics"))
    values: dict[str, Value] = {}
    for name, raw in metrics.items():
        value = _value(raw)
        if value is None or not _is_name(name):
            dropped.add(_plain(name, 60))
        else:
            values[name] = value
    return Step(step, _time(body.get("time")), values, anomaly_of(anomaly) if isinstance(anomaly, dict) else None)


def merge(lines: Iterable[Step]) -> dict[int, Step]:
    """Lines of the same step become one: the last value of each metric, the last anomaly, the last time."""
    steps: dict[int, Step] = {}
    for line in lines:
        known = steps.get(line.step)
        if known is None:
            steps[line.step] = line
            continue
        steps[line.step] = Step(
            line.step,
            line.time if line.time is not None else known.time,
            known.values | line.values,
            line.anomaly or known.anomaly,
        )
    return steps


def admit(steps: dict[int, Step], logged: Iterable[tuple[str, ...]], known: Iterable[str]) -> tuple[list[str], int]:
    """Keep to MAX_NAMES: takes metrics beyond them out of `steps`, which have those of `logged` (`Parsed.names`).

    Returns all names of the stream, sorted, and how many new names found no place.
    """
    names = set(known)
    new = set(chain.from_iterable(logged)) - names
    if len(names) + len(new) <= MAX_NAMES:
        return sorted(names | new), 0
    refused: set[str] = set()
    for step in steps.values():
        for name in sorted(step.values.keys() - names):
            if len(names) < MAX_NAMES:
                names.add(name)
            else:
                refused.add(name)
                del step.values[name]
    return sorted(names), len(refused)


def is_finite(value: Value) -> bool:
    return type(value) is not str


def _load(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    # Python's own reader takes what a careless trainer writes: NaN, Infinity, 1e400. Text first: it would
    # guess other encodings from bytes.
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError:
        raise Unusable(gettext_noop("not UTF-8")) from None
    except RecursionError:
        raise Unusable(gettext_noop("nested too deeply")) from None
    except ValueError as error:
        raise Unusable(f"{NOT_JSON}: {error}"[:200]) from None


def _is_name(name: str) -> bool:
    return bool(name) and len(name) <= MAX_NAME and name.isprintable()


@lru_cache(maxsize=16)
def _are_names(names: tuple[str, ...]) -> bool:
    """Of a trainer's lines nearly all have the same metrics."""
    return all(map(_is_name, names))


def _value(raw: object) -> Value | None:
    if isinstance(raw, float):
        if math.isfinite(raw):
            return raw
        return "NaN" if math.isnan(raw) else "Infinity" if raw > 0 else "-Infinity"
    if isinstance(raw, int):
        whole = int(raw)  # True counts as 1
        if -(2**63) <= whole < 2**63:
            return whole
        try:
            return float(whole)
        except OverflowError:
            return "Infinity" if whole > 0 else "-Infinity"
    return raw if isinstance(raw, str) and raw in NON_FINITE else None


def _time(raw: object) -> float | None:
    value = _value(raw)
    return float(value) if value is not None and is_finite(value) else None


def anomaly_of(raw: Mapping[str, object]) -> Anomaly:
    """What a trainer says of an anomaly, as text of bounded length."""
    return Anomaly(_plain(raw.get("type") or "unknown", 64), _plain(raw.get("message") or "", MESSAGE))


def _plain(raw: object, limit: int) -> str:
    """Text that any database takes: no NUL, no half of a surrogate pair."""
    return str(raw)[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _excerpt(line: bytes) -> str:
    return line[:EXCERPT].decode(errors="backslashreplace").replace("\0", "\\x00")


def _too_long(line: bytes, offset: int) -> Bad:
    return Bad(offset, gettext_noop("longer than 1 MiB"), _excerpt(line))
