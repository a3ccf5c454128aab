"""Real trainings of SmolLM2-135M with the platform's own recipes, replayed: healthy ones are let be, others are named.

`real/` has what verl logged, each figure to five digits and the time from the first step on; docs/diagnostics.md says
how the runs were made.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from monitoring.diagnostics.core import Sample

from .series import diagnosed

REAL = Path(__file__).parent / "real"

Named = Mapping[str, tuple[str, str, int]]
"""Rule -> severity, code and first step of its one finding."""

RUNS: Mapping[str, tuple[str, int, Named]] = {
    "smollm2-sft": ("sft", 64, {}),
    "smollm2-dpo": ("dpo", 64, {}),
    # The same at five times the rate: the loss is next to nothing before any pair has been seen twice.
    "smollm2-dpo-too-fast": ("dpo", 64, {"dpo_stuck": ("warning", "at_once", 37)}),
    # A third of its answers are cut off at 16 tokens, which is told from the twentieth step on.
    "smollm2-grpo": ("grpo", 21, {"truncation": ("error", "message", 20)}),
}


def replayed(name: str) -> list[Sample]:
    lines = [json.loads(line) for line in (REAL / f"{name}.jsonl").read_text().splitlines()]
    return [Sample(line["step"], line["time"], line["metrics"]) for line in lines]


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("name", RUNS)
def test_a_real_run_is_named_by_what_is_wrong_with_it_and_by_nothing_else(name: str, batch: int) -> None:
    algorithm, steps, named = RUNS[name]
    run = replayed(name)
    assert [sample.step for sample in run] == list(range(1, steps + 1))
    found = diagnosed(algorithm, run, batch=batch).values()
    assert {one.rule: (one.severity.word, one.code, one.start_step) for one in found} == named
    assert len(found) == len(named)


def test_every_real_run_is_replayed() -> None:
    assert {path.stem for path in REAL.iterdir()} == set(RUNS)
