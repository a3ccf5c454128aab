"""Rollout files: whole or not there, and read back as they were written."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from platform_runtime import rollouts
from platform_runtime.message import ContractError
from platform_runtime.rollouts import Sample

SAMPLE = Sample(
    step=3,
    group=0,
    sample=1,
    row=17,
    prompt=[{"role": "user", "content": "What is 2 plus 3?"}],
    response="I say\u2028 #### 5 😀\x85",
    tokens=4,
    answer="5",
    reward=1.5,
    parts={"exact_match": 1.0, "format": "NaN"},
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = str(tmp_path / "rollouts")
    other = Sample(3, 1, 0, None, [], "", 0, None, "-Infinity")
    rollouts.write(folder, 3, [SAMPLE, other])
    assert rollouts.parse(Path(rollouts.path(folder, 3)).read_bytes()) == [SAMPLE, other]


def test_a_step_without_samples_is_an_empty_file(tmp_path: Path) -> None:
    rollouts.write(str(tmp_path), 1, [])
    assert rollouts.parse((tmp_path / "1.jsonl").read_bytes()) == []


def test_steps_are_found_in_order_and_nothing_else(tmp_path: Path) -> None:
    for name in ("10.jsonl", "9.jsonl", ".9.jsonl.abc", "9.jsonl.tmp", "x.jsonl", "-1.jsonl", "01.jsonl", "٣.jsonl"):
        (tmp_path / name).touch()
    assert rollouts.steps(str(tmp_path)) == [9, 10]
    assert rollouts.steps(str(tmp_path / "none")) == []


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def torn() -> Any:
        yield SAMPLE
        raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space"):
        rollouts.write(str(tmp_path), 1, torn())
    assert list(tmp_path.iterdir()) == []


BROKEN = {
    "no JSON": b"{",
    "no object": b"[]",
    "no reward": {"reward": None},
    "a reward that is text": {"reward": "much"},
    "a reward that is true": {"reward": True},
    "a negative step": {"step": -1},
    "a group that is no number": {"group": "0"},
    "a prompt that is text": {"prompt": "What?"},
    "a response that is none": {"response": None},
    "parts that are a list": {"parts": [1]},
    "a part that is text": {"parts": {"format": "good"}},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_line_that_is_broken_is_told_with_its_number(broken: bytes | dict[str, Any]) -> None:
    good = json.dumps(SAMPLE.to_json()).encode()
    line = broken if isinstance(broken, bytes) else json.dumps({**SAMPLE.to_json(), **broken}).encode()
    with pytest.raises(ContractError, match="line 2"):
        rollouts.parse(good + b"\n" + line + b"\n")
