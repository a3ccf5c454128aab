"""Ask a model every question of a suite and count the right answers.

`python -P -m platform_runtime.evaluate ATTEMPT_FOLDER`, in the training environment, reads `task.json` there and leaves
`samples.jsonl`, what was asked and said, and at last `result.json`. What cannot work however often it is tried ends it
with 65 and a `result.json` that says why.

What this module itself needs is the standard library: a suite that is no good is told before anything is loaded.
"""

import itertools
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from platform_runtime import answers, files, rows
from platform_runtime.checkpoints import BadCheckpointError, verify
from platform_runtime.contract import RunFolder
from platform_runtime.message import ContractError, Message
from platform_runtime.status import Status

TASK: Final = "task.json"
SAMPLES: Final = "samples.jsonl"
WORK: Final = "work"
"""What is made on the way, such as weights put together from their shards. Gone at the end."""
METRIC: Final = "exact_match"
UNUSABLE: Final = 65
_SHOWN: Final = 5
_LONGEST: Final = 300


class UnusableError(ValueError):
    """Trying again helps nobody. The message is for people."""


@dataclass(frozen=True)
class Task(Message):
    """task.json. `model` is a folder, a hub's name or `builtin:…`; `checkpoint` the folder of a step: one of the two.

    `limit`: how many items, the first ones; None for all. `max_tokens`: the longest answer. `about` is for whoever
    takes the result: what it is the result of.
    """

    suite: str
    uuid: str
    model: str = ""
    checkpoint: str = ""
    limit: int | None = None
    max_tokens: int = 64
    extract: str = "text"
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        try:
            return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})
        except TypeError as error:
            raise ContractError(str(error)) from error


@dataclass(frozen=True)
class Item:
    question: str
    answer: str


@dataclass(frozen=True)
class Sample:
    """One item with what the model said to it, and what was compared."""

    question: str
    answer: str
    response: str
    extracted: str
    correct: bool


def read_suite(task: Task) -> list[Item]:
    """The items to ask, in their order. Raises UnusableError, OSError."""
    items = []
    with open(task.suite, "rb") as file:
        for number, line in itertools.islice(rows.lines(file), task.limit):
            try:
                row = rows.parse(line)
                rows.CHECKS["eval"](row)
            except rows.BadRowError as error:
                raise UnusableError(f"Line {number} of the suite: {error}.") from error
            if not answers.EXTRACT[task.extract](row["answer"]):
                raise UnusableError(f"Line {number} of the suite: nothing to compare with stands in “answer”.")
            items.append(Item(row["question"], row["answer"]))
    if not items:
        raise UnusableError("The suite is empty.")
    return items


def judged(item: Item, response: str, extract: str) -> Sample:
    take = answers.EXTRACT[extract]
    extracted = take(response)
    return Sample(item.question, item.answer, response, extracted, answers.is_right(extracted, take(item.answer)))


def evaluate(run: RunFolder, task: Task) -> dict[str, Any]:
    """Do it; what goes into result.json. Raises UnusableError, and whatever a model that does not fit raises."""
    if task.extract not in answers.EXTRACT:
        raise UnusableError(f"extract: there is {', '.join(answers.EXTRACT)}.")
    items = read_suite(task)
    if task.checkpoint:
        try:
            verify(task.checkpoint)
        except BadCheckpointError as error:
            raise UnusableError(f"The checkpoint cannot be loaded: {error}.") from error
    status, work = Status(run, unit="samples", total=len(items)), os.path.join(run.path, WORK)
    os.makedirs(work, mode=0o700, exist_ok=True)
    try:
        # Takes seconds, which the platform need not wait for to know how much there is to do.
        from platform_runtime import evaluate_model  # noqa: PLC0415

        found = evaluate_model.ask(task, items, work, status.done)
    except BaseException:
        status.end(failed=True)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    files.replace(os.path.join(run.path, SAMPLES), _lines(found.samples))
    status.end()
    _tell(found.samples)
    return {
        "score": found.metrics[METRIC],
        "n": len(found.samples),
        "metrics": found.metrics,
        "chat_template": found.chat_template,
        "truncated": found.truncated,
    }


def _lines(samples: Sequence[Sample]) -> bytes:
    return b"".join(
        json.dumps({"sample": number, **vars(sample)}, ensure_ascii=False).encode(errors="replace") + b"\n"
        for number, sample in enumerate(samples)
    )


def _tell(samples: Sequence[Sample]) -> None:
    """The sum and the first that went wrong, for the log."""
    right = sum(sample.correct for sample in samples)
    print(f"{right} of {len(samples)} answers are right")
    for sample in [sample for sample in samples if not sample.correct][:_SHOWN]:
        print(f"wrong: {sample.question[:_LONGEST]!r} -> {sample.response[:_LONGEST]!r}, not {sample.answer!r}")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m platform_runtime.evaluate ATTEMPT_FOLDER\n")
        return 2
    run = RunFolder.at(arguments[0])
    os.umask(0o077)
    try:
        with open(os.path.join(run.path, TASK), "rb") as file:
            task = Task.from_bytes(file.read())
        result = evaluate(run, task)
        if not math.isfinite(result["score"]):
            raise UnusableError("The score is no number.")
    except (UnusableError, ContractError) as error:
        files.replace(run.result, (json.dumps({"error": str(error)}) + "\n").encode())
        print(f"{type(error).__name__}: {error}")
        return UNUSABLE
    files.replace(run.result, (json.dumps(result, indent=1, sort_keys=True) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
