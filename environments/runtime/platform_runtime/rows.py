"""Rows of datasets as programs beside the platform read them: strict as the platform's intake is. Stdlib only.

What `parse`, `CHECKS` and `Columns` let through, the intake takes; a test holds the two together.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final, NoReturn

MAX_LINE: Final = 8 * 1024**2
MAX_COLUMNS: Final = 200
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**63
SAID: Final[Mapping[str, tuple[str, ...]]] = {
    "sft": ("messages",),
    "preference": ("prompt", "chosen", "rejected"),
    "prompts": ("prompt", "answer"),
    "eval": ("question", "answer"),
}
"""kind -> the columns that hold what is said."""
ROLES: Final = ("system", "user", "assistant", "tool")
_BOM: Final = b"\xef\xbb\xbf"

Row = dict[str, Any]


class BadRowError(ValueError):
    """The line cannot be used. The message says why, for people."""


class EmptyRowError(BadRowError):
    """Nothing stands in it."""


def lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Numbered from 1, without their ends; None for one that is longer than MAX_LINE. Memory stays bounded."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        # With its newline, which the last line may lack, a line has at most MAX_LINE bytes.
        if len(line) < MAX_LINE or (len(line) == MAX_LINE and line.endswith(b"\n")):
            yield number, line.strip()
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield number, None


def parse(line: bytes | None) -> Row:
    """The object in a line. Raises BadRowError."""
    if line is None:
        raise BadRowError(f"longer than {MAX_LINE // 1024**2} MiB")
    if not line:
        raise EmptyRowError("an empty line")
    try:
        row = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_int=_integer,
            parse_float=_float,
        )
    except UnicodeDecodeError:
        raise BadRowError("not UTF-8") from None
    except RecursionError:
        raise BadRowError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadRowError(f"not JSON: {error.msg} at character {error.colno}") from None
    if not isinstance(row, dict):
        raise BadRowError("not a JSON object")
    if not row:
        raise EmptyRowError("an empty object")
    _walk(row)
    return row


def dump(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def canonical(row: Row) -> bytes:
    """The same bytes for the same content, however it was written."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True).encode()


def stripped(row: Row) -> Row:
    """The row with white space taken off the ends of its texts and of its messages."""
    return {name: _stripped(value) for name, value in row.items()}


def _stripped(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return [
            {**item, "content": item["content"].strip()}
            if isinstance(item, dict) and isinstance(item.get("content"), str)
            else item
            for item in value
        ]
    return value


@dataclass
class Tally:
    """Counted over the rows of a file; `stats` says it as the platform does."""

    kind: str
    rows: int = 0
    turns: int = 0
    characters: int = 0
    longest: int = 0

    def add(self, row: Row) -> None:
        said = texts(row, self.kind)
        count = sum(map(len, said))
        self.rows += 1
        self.turns += len(said)
        self.characters += count
        self.longest = max(self.longest, count)

    def stats(self) -> dict[str, Any]:
        if not self.rows:
            return {}
        return {
            "turns": self.turns,
            "characters": self.characters,
            "mean_characters": round(self.characters / self.rows, 1),
            "longest_characters": self.longest,
        }


def texts(row: Row, kind: str) -> list[str]:
    """What is said in a sound row, turn by turn."""
    return [text for name in SAID[kind] if row.get(name) is not None for text in _texts(row[name])]


def _texts(said: Any) -> list[str]:
    """Of messages; a text or a number is said in one turn."""
    return [message.get("content") or "" for message in said] if isinstance(said, list) else [str(said)]


def characters(row: Row, kind: str) -> int:
    """Of all that is said."""
    return sum(map(len, texts(row, kind)))


def check_sft(row: Row) -> None:
    """`{"messages": [{"role", "content"}, …]}` with something of an assistant's. Raises BadRowError."""
    messages = row.get("messages")
    if not isinstance(messages, list):
        raise BadRowError("“messages” is not a list")
    if not messages:
        raise EmptyRowError("no messages")
    answered = False
    for number, message in enumerate(messages, start=1):
        _check_message(number, message)
        content = message.get("content") or ""
        answered |= message["role"] == "assistant" and bool(content.strip() or message.get("tool_calls"))
    if not answered:
        raise EmptyRowError("no assistant message with text")


def _check_message(number: int, message: object) -> None:
    if not isinstance(message, dict):
        raise BadRowError(f"message {number} is not an object")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRowError(f"the role of message {number} is none of {', '.join(ROLES)}")
    if role == "system" and number != 1:
        raise BadRowError(f"message {number}: a system message can only be the first")
    if content is None and role == "assistant" and message.get("tool_calls"):
        return
    if not isinstance(content, str):
        raise BadRowError(f"the content of message {number} is not text")
    if not content and role != "assistant":
        raise EmptyRowError(f"the content of message {number} is empty")


def check_eval(row: Row) -> None:
    """`{"question", "answer"}`, both with something in them. Raises BadRowError."""
    for name in ("question", "answer"):
        text = row.get(name)
        if not isinstance(text, str):
            raise BadRowError(f"“{name}” is not text")
        if not text.strip():
            raise EmptyRowError(f"“{name}” is blank")


def check_preference(row: Row) -> None:
    """`{"prompt", "chosen", "rejected"}`: each a text or a list of messages. Raises BadRowError."""
    _check_prompt(row)
    for name in ("chosen", "rejected"):
        _check_said(name, row.get(name))
        if isinstance(row[name], list):
            _check_answer(name, row[name])
    if row["chosen"] == row["rejected"]:
        raise BadRowError("“chosen” and “rejected” are the same")
    _check_tools(row.get("tools"))


def check_prompts(row: Row) -> None:
    """`{"prompt", "answer"?}`: a text or a list of messages, and a text or a number. Raises BadRowError."""
    _check_prompt(row)
    _check_plain(row["prompt"])
    answer = row.get("answer")
    if isinstance(answer, bool | list | dict):
        raise BadRowError("“answer” is neither text nor a number")
    if isinstance(answer, str) and not answer.strip():
        raise EmptyRowError("“answer” is blank")


def _check_prompt(row: Row) -> None:
    prompt = row.get("prompt")
    _check_said("prompt", prompt)
    if isinstance(prompt, list) and prompt[-1]["role"] not in ("user", "tool"):
        raise BadRowError("“prompt” does not end with a message of the user or of a tool")


def _check_tools(tools: object) -> None:
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            tools = ""
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise BadRowError("“tools” is neither a list of objects nor the JSON text of one")


def _check_plain(prompt: str | list[dict[str, Any]]) -> None:
    for number, message in enumerate([] if isinstance(prompt, str) else prompt, start=1):
        for key, value in message.items():
            if key not in ("role", "content") and value is not None:
                raise BadRowError(f"message {number} of “prompt” has “{key[:100]}” beside its role and content")


def _check_answer(name: str, messages: list[dict[str, Any]]) -> None:
    last = messages[-1]
    if any(message["role"] == "system" for message in messages) or last["role"] != "assistant":
        raise BadRowError(f"“{name}” holds a system message, or does not end with one of the assistant")
    if not (last.get("content") or "").strip() and not last.get("tool_calls"):
        raise EmptyRowError(f"the last message of “{name}” has no text")


def _check_said(name: str, value: object) -> None:
    if isinstance(value, str):
        if not value.strip():
            raise EmptyRowError(f"“{name}” is blank")
        return
    if not isinstance(value, list):
        raise BadRowError(f"“{name}” is neither text nor a list of messages")
    if not value:
        raise EmptyRowError(f"“{name}” holds no messages")
    for number, message in enumerate(value, start=1):
        try:
            _check_message(number, message)
        except BadRowError as error:
            raise type(error)(f"in “{name}”: {error}") from None


CHECKS: Final[Mapping[str, Callable[[Row], None]]] = {
    "sft": check_sft,
    "preference": check_preference,
    "prompts": check_prompts,
    "eval": check_eval,
}
"""kind -> what a row of it must be."""


@dataclass
class Columns:
    """The columns of a file and the type each has: the trainer reads the rows as one typed table."""

    seen: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(self.seen)

    def add(self, line: int, row: Row) -> None:
        """Raises BadRowError for a row that does not fit, and then remembers nothing of it."""
        fresh = dict(self.seen)
        for name, value in row.items():
            kind = _kind(value)
            before, since = fresh.get(name, ("", line))
            if name not in fresh and len(fresh) >= MAX_COLUMNS:
                raise BadRowError(f"more than {MAX_COLUMNS} columns in the file")
            if before and kind and kind != before:
                raise BadRowError(f"column “{name[:100]}” holds {kind}, and {before} in line {since}")
            fresh[name] = (before or kind, since if before else line)
        self.seen = fresh


def _kind(value: object) -> str:
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


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRowError("a key stands twice in one object")
    return found


def _no_number(text: str) -> NoReturn:
    raise BadRowError(f"{text} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > 20 or not -MAX_INTEGER <= int(text) < MAX_INTEGER:
        raise BadRowError(f"the number {text[:20]}… does not fit into 64 bits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BadRowError(f"the number {text[:20]} is too large")
    return number


def _walk(row: Row) -> None:
    """Refuses depth, NUL and halves of surrogate pairs, without recursion."""
    waiting: list[tuple[Any, int]] = [(row, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise BadRowError("nested too deeply")
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
        raise BadRowError("NUL in a text")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise BadRowError("half of a surrogate pair in a text") from None
