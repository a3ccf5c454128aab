"""Prompts with their answers as verl's PPO trainer reads them. Runs in the training environment (pyarrow).

A row is `{"prompt": text or list of messages, "answer"?: text or number}`; a text is one message of the user. verl
(verl/utils/dataset/rl_dataset.py) wants parquet with `prompt`, `data_source`, `reward_model` and `extra_info`, and in
each `reward_model` a `ground_truth` (verl/experimental/reward_loop/reward_manager/naive.py): "" where there is none.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

import pyarrow
import pyarrow.parquet

from platform_runtime.data import BadDataError, read_jsonl

SOURCE: Final = "prompts"
"""Stands in the names of verl's validation metrics."""

_MESSAGE: Final = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
_SCHEMA: Final = pyarrow.schema(
    [
        ("prompt", pyarrow.list_(_MESSAGE)),
        ("data_source", pyarrow.string()),
        ("reward_model", pyarrow.struct([("style", pyarrow.string()), ("ground_truth", pyarrow.string())])),
        ("extra_info", pyarrow.struct([("index", pyarrow.int64())])),
    ]
)


def to_parquet(path: str, folder: str, *, compared: str = "") -> str:
    """A parquet file in `folder` with the prompts of the JSONL file `path`; its path.

    `compared` names the setting by which each row's answer is compared with; without one, rows need none. Two processes
    may do so at the same time. Raises BadDataError, with file and row, and OSError.
    """
    rows = [_row(row, number, path, compared) for number, row in enumerate(read_jsonl(path))]
    os.makedirs(folder, exist_ok=True)
    name = os.path.splitext(os.path.basename(path))[0]
    target = os.path.join(folder, f"{name}.parquet")
    temporary = f"{target}.{os.getpid()}"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=_SCHEMA), temporary)
    os.replace(temporary, target)
    return target


def _row(row: Mapping[str, Any], number: int, path: str, compared: str) -> dict[str, Any]:
    try:
        answer = _answer(row.get("answer"))
        if compared and not answer.strip():
            raise BadDataError(f"there is no “answer” to compare with: give each row one, or set {compared} to 0")
        return {
            "prompt": _messages(row.get("prompt")),
            "data_source": SOURCE,
            "reward_model": {"style": "rule", "ground_truth": answer},
            "extra_info": {"index": number},
        }
    except BadDataError as error:
        raise BadDataError(f"{path}, row {number + 1}: {error}") from None


def _messages(prompt: Any) -> list[dict[str, str]]:
    if isinstance(prompt, str) and prompt.strip():
        return [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list) or not prompt:
        raise BadDataError("“prompt” must be a text or a list of messages, and not empty")
    for message in prompt:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise BadDataError("each message of “prompt” needs “role” and “content”, both texts")
    return [{"role": message["role"], "content": message["content"]} for message in prompt]


def _answer(answer: Any) -> str:
    if answer is None:
        return ""
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise BadDataError("“answer” must be a text or a number")
    return str(answer)
