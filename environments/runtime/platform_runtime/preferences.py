"""Preference pairs as the trainers take them: conversations, then tokens. Runs in the training environment.

A row is `{"prompt", "chosen", "rejected"}`; each is a text or a list of messages. A text is one message, of the user or
of the assistant.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from platform_runtime.data import BadDataError, read_jsonl

Messages = list[dict[str, Any]]
SIDES: Final = ("chosen", "rejected")
COLUMNS: Final = ("prompt", *SIDES)


@dataclass(frozen=True)
class Pair:
    """Token ids. `prompt` is what both sequences begin with, and never empty where a chat template was applied."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def read(files: str | Iterable[str]) -> list[dict[str, Any]]:
    """The rows of JSONL files, with messages in place of texts. Raises BadDataError, OSError."""
    paths = [files] if isinstance(files, str) else list(files)
    return [conversation(row, f"{path}, row {number}") for path in paths for number, row in _rows(path)]


def _rows(path: str) -> Iterable[tuple[int, dict[str, Any]]]:
    if not path.endswith(".jsonl"):
        raise BadDataError(f"{path}: preference pairs are read from JSONL, and the name must say so")
    return enumerate(read_jsonl(os.path.expanduser(path)), start=1)


def conversation(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The row with three lists of messages; other columns as they are. Raises BadDataError."""
    return {
        **row,
        "prompt": _messages(row, "prompt", "user", where),
        **{side: _messages(row, side, "assistant", where) for side in SIDES},
    }


def _messages(row: Mapping[str, Any], name: str, role: str, where: str) -> Messages:
    value = row.get(name)
    if isinstance(value, str) and value.strip():
        return [{"role": role, "content": value}]
    if isinstance(value, list) and value and all(isinstance(message, dict) for message in value):
        return value
    raise BadDataError(f"{where}: “{name}” must be text or a list of messages, and not empty")


def tokens(tokenizer: Any, row: Mapping[str, Any], options: Mapping[str, Any], tools: Any = None) -> Pair:
    """A row that `conversation` made, through the chat template. `options` go to it; `tools` may be JSON.

    The answers begin where a sequence is no longer the prompt's, as in TRL's dpo_trainer.py: some templates write the
    end of a prompt differently once an answer follows.
    """
    given = {**options, "tools": json.loads(tools) if isinstance(tools, str) else tools}

    def ids(messages: Messages, *, ask: bool) -> list[int]:
        found = tokenizer.apply_chat_template(
            messages, add_generation_prompt=ask, tokenize=True, return_dict=True, **given
        )
        return list(found["input_ids"])

    prompt = ids(row["prompt"], ask=True)
    chosen, rejected = (ids(row["prompt"] + row[side], ask=False) for side in SIDES)
    shared = min(_common(prompt, chosen), _common(prompt, rejected))
    return Pair(prompt[:shared], chosen[shared:], rejected[shared:])


def _common(left: list[int], right: list[int]) -> int:
    return next(
        (at for at, (one, other) in enumerate(zip(left, right, strict=False)) if one != other),
        min(len(left), len(right)),
    )
