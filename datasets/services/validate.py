"""Reads a JSONL file line by line and says what is wrong with it, in bounded memory and without any side effect."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final, NoReturn

from django.utils.translation import gettext as _

from datasets.rows import CHECKS, Fault, Tally
from platform_site.common import uploads

MAX_LINE: Final = 8 * 1024**2
MAX_COLUMNS: Final = 200
MAX_DEPTH: Final = 32
MAX_PROBLEMS: Final = 100
"""After so many the rest is counted no more: who has a hundred wrong lines needs no further ones."""
MAX_INTEGER: Final = 2**63

_BOM: Final = b"\xef\xbb\xbf"
_NOT_TEXT: Final = {b"PAR1": "Parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip"}


@dataclass(frozen=True)
class Problem:
    """`line` counts from 1; 0 is the file as a whole."""

    line: int
    message: str


@dataclass
class Report:
    """What a file holds. `truncated`: reading stopped after MAX_PROBLEMS problems."""

    problems: list[Problem] = field(default_factory=list)
    rows: int = 0
    columns: list[str] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    truncated: bool = False

    @property
    def valid(self) -> bool:
        return not self.problems


def max_bytes() -> int:
    """The largest file that is taken."""
    return uploads.limit()


class _BadLineError(ValueError):
    """The message is for people."""


def validate(file: IO[bytes], kind: str) -> Report:
    """Checks a JSONL file of this kind from where it stands to its end. Reads it once; does nothing else."""
    report = Report()
    check = CHECKS[kind]
    columns = _Columns()
    tally = Tally()
    for number, line in _lines(file):
        try:
            row = _parse(line, first=number == 1)
            columns.add(number, row)
            report.rows += 1
            faults = [_told(fault) for fault in check(row, tally)]
        except _BadLineError as error:
            faults = [str(error)]
        report.problems += [Problem(number, fault) for fault in faults]
        if len(report.problems) >= MAX_PROBLEMS:
            del report.problems[MAX_PROBLEMS:]
            report.truncated = True
            break
    if not report.rows and not report.problems:
        report.problems.append(Problem(0, _("The file is empty.")))
    report.columns = columns.names
    report.stats = _stats(report.rows, tally)
    return report


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None for one that is longer than MAX_LINE, whose rest is skipped."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) <= MAX_LINE:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield number, None


def _parse(line: bytes | None, *, first: bool) -> dict[str, Any]:
    if line is None:
        raise _BadLineError(_("The line is longer than %(limit)d MiB.") % {"limit": MAX_LINE // 1024**2})
    if first:
        _refuse_other_formats(line)
    if not line.strip():
        raise _BadLineError(_("The line is empty."))
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number, parse_int=_integer)
    except UnicodeDecodeError:
        raise _BadLineError(_("The line is not UTF-8.")) from None
    except RecursionError:
        raise _BadLineError(_("The line is nested too deeply.")) from None
    except json.JSONDecodeError as error:
        raise _BadLineError(
            _("Not JSON: %(problem)s at character %(column)d.") % {"problem": error.msg, "column": error.colno}
        ) from None
    if not isinstance(row, dict):
        raise _BadLineError(_("The line must be a JSON object."))
    _walk(row)
    return row


def _refuse_other_formats(line: bytes) -> None:
    if line.startswith(_BOM):
        raise _BadLineError(_("The file begins with a byte order mark: save it as UTF-8 without one."))
    for magic, name in _NOT_TEXT.items():
        if line.startswith(magic):
            raise _BadLineError(_("This is a %(format)s file. Give JSONL: one JSON object a line.") % {"format": name})


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _BadLineError(_("The key “%(key)s” stands twice in one object.") % {"key": twice[:100]})
    return found


def _no_number(text: str) -> NoReturn:
    raise _BadLineError(_("%(text)s is no JSON number.") % {"text": text})


def _integer(text: str) -> int:
    if len(text) > 20 or not -MAX_INTEGER <= int(text) < MAX_INTEGER:
        raise _BadLineError(_("The number %(text)s… does not fit into 64 bits.") % {"text": text[:20]})
    return int(text)


def _walk(row: dict[str, Any]) -> None:
    """Refuses depth, NUL and halves of surrogate pairs, without recursion."""
    waiting: list[tuple[Any, int]] = [(row, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _BadLineError(_("The line is nested too deeply."))
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, dict):
            for name, inner in item.items():
                _check_text(name)
                waiting.append((inner, depth + 1))
        elif isinstance(item, list):
            waiting.extend((inner, depth + 1) for inner in item)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise _BadLineError(_("Text must not contain NUL."))
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise _BadLineError(_("Text must be valid Unicode: half of a surrogate pair was found.")) from None


class _Columns:
    """The columns of the file and the type that each has. The trainer reads the rows as one typed table."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

    @property
    def names(self) -> list[str]:
        return list(self._seen)

    def add(self, line: int, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            kind = _kind(value)
            before, since = self._seen.get(name, ("", line))
            if name not in self._seen and len(self._seen) >= MAX_COLUMNS:
                raise _BadLineError(_("The file has more than %(limit)d columns.") % {"limit": MAX_COLUMNS})
            if before and kind and kind != before:
                raise _BadLineError(
                    _("Column “%(name)s” holds %(kind)s here and %(before)s in line %(since)d.")
                    % {"name": name[:100], "kind": kind, "before": before, "since": since}
                )
            self._seen[name] = (before or kind, since if before else line)


def _kind(value: object) -> str:
    """The type in the words of JSON; empty for null, which goes with any."""
    match value:
        case None:
            return ""
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _stats(rows: int, tally: Tally) -> dict[str, Any]:
    if not rows:
        return {}
    return {
        "turns": tally.turns,
        "characters": tally.characters,
        "mean_characters": round(tally.characters / rows, 1),
        "longest_characters": tally.longest,
    }


def _told(fault: Fault) -> str:
    values = {name: _told(value) if isinstance(value, Fault) else value for name, value in fault.values.items()}
    return _(fault.template) % values if values else _(fault.template)
