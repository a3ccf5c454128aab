"""What a model answered while it was trained by reward: `rollouts/<step>.jsonl` in the run folder. Stdlib only.

One file a step, one line a response, in the order of groups:

    {"v": 1, "step": 3, "group": 0, "sample": 1, "row": 17,
     "prompt": [{"role": "user", "content": "What is 2 plus 3?"}], "response": "#### 5", "tokens": 4,
     "answer": "5", "reward": 1.5, "parts": {"exact_match": 1.0, "format": 0.5}}

A file appears whole, by renaming: what is named `<step>.jsonl` is complete and is not written again. Whatever else lies
in the folder means nothing. A run that goes on from a checkpoint writes the steps after it into the folder of its own
attempt.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from platform_runtime import files
from platform_runtime.contract import VERSION, MetricValue
from platform_runtime.message import ContractError, Message

FOLDER: Final = "rollouts"

_NAME: Final = re.compile(r"(0|[1-9][0-9]{0,17})\.jsonl")
_NOT_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})


@dataclass(frozen=True)
class Sample(Message):
    """One response.

    `step`: of the training, from 1. `group`: which prompt of the step it answers, from 0; responses to one prompt share
    it. `sample`: which response to that prompt, from 0. `row`: the prompt's row in the dataset, from 0; None where the
    data do not say. `prompt`: messages, each with `role` and `content`, without the model's own marks, as is
    `response`. `tokens`: how long the response is, its end mark included. `answer`: what the row says is right, any
    JSON. `reward`: what the response was given in all. `parts`: what the reward was made of, before weights.
    """

    step: int
    group: int
    sample: int
    row: int | None
    prompt: list[dict[str, Any]]
    response: str
    tokens: int
    answer: Any
    reward: MetricValue
    parts: dict[str, MetricValue] = field(default_factory=dict)
    v: int = VERSION

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        row = data.get("row")
        prompt, parts = data.get("prompt"), data.get("parts", {})
        if not isinstance(prompt, list) or not all(isinstance(message, dict) for message in prompt):
            raise ContractError("prompt: a list of messages was expected")
        if not isinstance(parts, dict):
            raise ContractError("parts: an object was expected")
        response = data.get("response")
        if not isinstance(response, str):
            raise ContractError("response: a text was expected")
        return cls(
            step=_count(data, "step"),
            group=_count(data, "group"),
            sample=_count(data, "sample"),
            row=None if row is None else _count(data, "row"),
            prompt=prompt,
            response=response,
            tokens=_count(data, "tokens"),
            answer=data.get("answer"),
            reward=_value(data.get("reward"), "reward"),
            parts={name: _value(value, f"parts.{name}") for name, value in parts.items()},
            v=_count(data, "v"),
        )


def path(folder: str, step: int) -> str:
    """Of the file of a step; `folder` is `<attempt folder>/rollouts`."""
    return os.path.join(folder, f"{step}.jsonl")


def step_of(name: str) -> int | None:
    """The step of a file by its name, without folder; None for any other file."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def steps(folder: str) -> list[int]:
    """The steps that are there, in order; none when there is no such folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(step for name in names if (step := step_of(name)) is not None)


def write(folder: str, step: int, samples: Iterable[Sample]) -> None:
    """The file of a step, whole or not at all. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lines = (json.dumps(one.to_json(), separators=(",", ":"), allow_nan=False) + "\n" for one in samples)
    files.replace(path(folder, step), "".join(lines).encode())


def parse(content: bytes) -> list[Sample]:
    """The samples in the lines of a file. Raises ContractError, with the number of the line."""
    found = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            found.append(Sample.from_bytes(line))
        except ContractError as error:
            raise ContractError(f"line {number}: {error}") from error
    return found


def _count(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ContractError(f"{key}: a whole number was expected")
    return value


def _value(value: Any, key: str) -> MetricValue:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ContractError(f"{key}: a number was expected")
    if isinstance(value, str) and value not in _NOT_FINITE:
        raise ContractError(f"{key}: a number was expected")
    return value
