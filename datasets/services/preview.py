"""The first rows of a version, to be looked at: bounded, whatever the file holds."""

import json
from dataclasses import dataclass
from typing import Any, Final

from datasets.models import DatasetVersion
from datasets.services import store
from platform_runtime.rows import SAID

ROWS: Final = 5
LONGEST: Final = 4000
"""Characters shown of one text."""
_LINE: Final = 1 << 20


@dataclass(frozen=True)
class Turn:
    """`role` of who says it, or the column that it stands in."""

    role: str
    text: str


@dataclass(frozen=True)
class Sample:
    """A row: what is said in it, and everything else as JSON. `number` counts from 1."""

    number: int
    turns: list[Turn]
    rest: str


def first_rows(version: DatasetVersion) -> list[Sample]:
    """At most ROWS of them; none when the file is gone, which verifying tells."""
    found: list[Sample] = []
    said = SAID[version.dataset.kind]
    try:
        with store.path_of(version.sha256, version.format).open("rb") as file:
            for number in range(1, ROWS + 1):
                line = file.readline(_LINE)
                # A longer line is shown by nobody, and what follows it would be read as a row of its own.
                if not line or (len(line) == _LINE and not line.endswith(b"\n")):
                    break
                found.append(_sample(number, line, said))
    except OSError:
        return []
    return found


def _sample(number: int, line: bytes, said: tuple[str, ...]) -> Sample:
    try:
        row: Any = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return Sample(number, [], _cut(line.decode(errors="replace")))
    if not isinstance(row, dict):
        return Sample(number, [], _cut(_json(row)))
    turns = [turn for name in said if row.get(name) is not None for turn in _turns(name, row[name])]
    rest = {name: value for name, value in row.items() if name not in said}
    return Sample(number, turns, _cut(_json(rest)) if rest else "")


def _turns(column: str, value: Any) -> list[Turn]:
    if not isinstance(value, list):
        return [Turn(column, _cut(_text(value)))]
    # Two answers of the assistant's stand side by side: which is which matters more than who speaks.
    named = column not in ("messages", "prompt")
    return [
        Turn(column if named else str(message.get("role", "")), _cut(_text(message.get("content"))))
        for message in value
        if isinstance(message, dict)
    ]


def _text(content: object) -> str:
    return content if isinstance(content, str) else _json(content)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
