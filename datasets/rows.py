"""What a row of each kind of dataset looks like. Pure: a row in, problems out."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

ROLES: Final = ("system", "user", "assistant", "tool")


def gettext_noop(text: str) -> str:
    """Marks a sentence for the message catalogue. The layers that know a language translate it."""
    return text


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a row. `template` is untranslated and filled by `values`, which may hold another fault."""

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


def preference(row: Mapping[str, Any], tally: Tally) -> Iterator[Fault]:
    """`{"prompt", "chosen", "rejected"}`: each a text or a list of messages; the last two are answers to the first."""
    fault = _prompt(row) or _answer(row, "chosen") or _answer(row, "rejected") or _tools(row.get("tools"))
    if fault is not None:
        yield fault
    elif row["chosen"] == row["rejected"]:
        yield Fault(gettext_noop("“chosen” and “rejected” are the same: there is nothing to prefer."))
    else:
        said = [text for name in ("prompt", "chosen", "rejected") for text in _texts(row[name])]
        tally.add(len(said), sum(map(len, said)))


def prompts(row: Mapping[str, Any], tally: Tally) -> Iterator[Fault]:
    """`{"prompt", "answer"?}`: a text or a list of messages, and what is compared with; a text or a number."""
    fault = _prompt(row) or _plain(row["prompt"])
    answer = row.get("answer")
    if fault is not None:
        yield fault
    elif isinstance(answer, str) and not answer.strip():
        yield Fault(gettext_noop("“%(name)s” must be text that is not blank."), {"name": "answer"})
    elif isinstance(answer, bool | list | dict):
        yield Fault(gettext_noop("“answer” must be text or a number."))
    else:
        said = [*_texts(row["prompt"]), *([] if answer is None else [str(answer)])]
        tally.add(len(said), sum(map(len, said)))


def _prompt(row: Mapping[str, Any]) -> Fault | None:
    prompt = row.get("prompt")
    fault = _said("prompt", prompt)
    if fault is None and isinstance(prompt, list) and prompt[-1]["role"] not in ("user", "tool"):
        return Fault(gettext_noop("“prompt” must end with a message of the user or of a tool: with what is answered."))
    return fault


def _tools(tools: object) -> Fault | None:
    """What a chat template is given of them; None where there are none."""
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            tools = ""
    if tools is None or (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        return None
    return Fault(gettext_noop("“tools” must be a list of objects, or the JSON text of one."))


def _plain(prompt: str | list[dict[str, Any]]) -> Fault | None:
    """What a trainer that asks these prompts would lose: of a message it takes who speaks and what is said."""
    for number, message in enumerate([] if isinstance(prompt, str) else prompt, start=1):
        for key, value in message.items():
            if key not in ("role", "content") and value is not None:
                return Fault(
                    gettext_noop(
                        "Message %(number)d of “prompt” has “%(key)s”: the messages of a prompt have “role” and "
                        "“content” alone."
                    ),
                    {"number": number, "key": key[:100]},
                )
    return None


def _answer(row: Mapping[str, Any], name: str) -> Fault | None:
    answer = row.get(name)
    fault = _said(name, answer)
    if fault is not None or isinstance(answer, str):
        return fault
    assert isinstance(answer, list), "nothing else gets through"
    last = answer[-1]
    if any(message["role"] == "system" for message in answer) or last["role"] != "assistant":
        return Fault(
            gettext_noop("“%(name)s” must hold no system message, and end with one of the assistant."), {"name": name}
        )
    if not (last.get("content") or "").strip() and not last.get("tool_calls"):
        return Fault(gettext_noop("The last message of “%(name)s” has no text."), {"name": name})
    return None


def _said(name: str, value: object) -> Fault | None:
    """What is wrong with a text or a list of messages."""
    if isinstance(value, str) and not value.strip():
        return Fault(gettext_noop("“%(name)s” must be text that is not blank."), {"name": name})
    if isinstance(value, str):
        return None
    if not isinstance(value, list) or not value:
        return Fault(gettext_noop("“%(name)s” must be text or a list of at least one message."), {"name": name})
    for number, message in enumerate(value, start=1):
        fault = _message(number, message)
        if fault is not None:
            return Fault(gettext_noop("In “%(name)s”: %(fault)s"), {"name": name, "fault": fault})
    return None


def _texts(said: str | list[dict[str, Any]]) -> list[str]:
    return [said] if isinstance(said, str) else [message.get("content") or "" for message in said]


CHECKS: Final[Mapping[str, Check]] = {"sft": sft, "preference": preference, "prompts": prompts, "eval": evaluation}
"""kind -> how a row of it is checked."""
