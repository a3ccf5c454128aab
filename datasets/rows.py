"""What a row of each kind of dataset looks like. Pure: a row in, problems out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

ROLES: Final = ("system", "user", "assistant", "tool")


def gettext_noop(text: str) -> str:
    """Marks a sentence for the message catalogue. The layers that know a language translate it."""
    return text


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a row. `template` is untranslated and filled by `values`."""

    template: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Tally:
    """Counted over all rows of a file."""

    turns: int = 0
    characters: int = 0
    longest: int = 0

    def add(self, turns: int, characters: int) -> None:
        self.turns += turns
        self.characters += characters
        self.longest = max(self.longest, characters)


Check = Callable[[Mapping[str, Any], Tally], Iterator[Fault]]


def sft(row: Mapping[str, Any], tally: Tally) -> Iterator[Fault]:
    """`{"messages": [{"role", "content"}, …]}` with something of an assistant's to learn from."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        yield Fault(gettext_noop("“messages” must be a list of at least one message."))
        return
    answers = characters = 0
    for number, message in enumerate(messages, start=1):
        fault = _message(number, message)
        if fault is not None:
            yield fault
            return
        content = message.get("content") or ""
        characters += len(content)
        answers += message["role"] == "assistant" and bool(content.strip() or message.get("tool_calls"))
    if not answers:
        yield Fault(gettext_noop("There is no assistant message with text: nothing to learn from."))
    tally.add(len(messages), characters)


def _message(number: int, message: object) -> Fault | None:
    values = {"number": number}
    if not isinstance(message, dict):
        return Fault(gettext_noop("Message %(number)d is not an object with “role” and “content”."), values)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return Fault(
            gettext_noop("The role of message %(number)d must be one of %(roles)s."),
            {**values, "roles": ", ".join(ROLES)},
        )
    if role == "system" and number != 1:
        return Fault(gettext_noop("Message %(number)d: a system message can only be the first."), values)
    if content is None and role == "assistant" and message.get("tool_calls"):
        return None
    if not isinstance(content, str):
        return Fault(gettext_noop("The content of message %(number)d must be text."), values)
    if not content and role != "assistant":
        return Fault(gettext_noop("The content of message %(number)d is empty."), values)
    return None


def evaluation(row: Mapping[str, Any], tally: Tally) -> Iterator[Fault]:
    """`{"question", "answer"}`: what a model is asked, and what it should say. Other columns go along."""
    characters = 0
    for name in ("question", "answer"):
        text = row.get(name)
        if not isinstance(text, str) or not text.strip():
            yield Fault(gettext_noop("“%(name)s” must be text that is not blank."), {"name": name})
            return
        characters += len(text)
    tally.add(2, characters)


CHECKS: Final[Mapping[str, Check]] = {"sft": sft, "eval": evaluation}
"""kind -> how a row of it is checked. A kind that is not here cannot be taken in."""
