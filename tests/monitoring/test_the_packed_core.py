"""The pure core of the store: bytes in, points out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.key_metrics import sources_in
from monitoring.store import block, buckets, pack
from monitoring.store.block import Block, Entry
from monitoring.store.lines import Value

from .stored import assert_same

STEPS = st.lists(st.integers(0, 2**53), max_size=80, unique=True).map(sorted)
NUMBERS = st.floats(width=64)
VALUES = st.integers(-(2**40), 2**40) | st.floats(-1e12, 1e12) | st.sampled_from(["NaN", "Infinity", "-Infinity"])
ROWS = st.dictionaries(st.integers(0, 60), st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), max_size=40)


@given(STEPS | st.builds(lambda first, step, n: list(range(first, first + step * n, step)), *[st.integers(1, 90)] * 3))
def test_whole_numbers_come_back(numbers: list[int]) -> None:
    blob = pack.dump_ints(np.array(numbers, np.int64))
    assert pack.load_ints(blob, len(numbers)).tolist() == numbers
    if len(set(np.diff(numbers))) <= 1:
        assert len(blob) == 17


@given(st.lists(st.none() | NUMBERS, min_size=1, max_size=70))
def test_missing_is_told_from_nan_and_every_value_comes_back(logged: list[float | None]) -> None:
    there = np.array([value is not None for value in logged])
    values, found = pack.load_values(
        pack.dump_values(np.array([math.nan if value is None else value for value in logged]), there), len(logged)
    )
    assert found.tolist() == there.tolist()
    assert all(
        a.hex() == b.hex() for a, b in zip(values[there].tolist(), [v for v in logged if v is not None], strict=True)
    )


@given(st.data())
@settings(max_examples=150)
def test_buckets_come_out_the_same_in_any_grouping(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 5000), min_size=1, max_size=80, unique=True).map(sorted))
    values = data.draw(
        st.lists(
            st.floats(-1e9, 1e9) | st.sampled_from([math.nan, math.inf, -math.inf]),
            min_size=len(steps),
            max_size=len(steps),
        )
    )
    level = data.draw(st.integers(0, 13))
    numbers, logged = np.array(steps, np.int64), np.array(values)
    whole = buckets.of_values(numbers, logged, level)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(steps)), max_size=4)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, len(steps)], strict=True):
        finer = data.draw(st.integers(0, level))
        part = buckets.of_values(numbers[start:stop], logged[start:stop], finer)
        parts.append(buckets.load(buckets.dump(part)))
    joined = buckets.together(parts, level)
    assert_same(joined.cells, whole.cells)
    assert_same(joined.odd, whole.odd)


@given(
    st.lists(st.tuples(st.integers(0, 900), NUMBERS), min_size=1, max_size=60, unique_by=lambda one: one[0]),
    st.integers(0, 8),
)
def test_a_bucket_says_what_its_values_come_to(logged: list[tuple[int, float]], level: int) -> None:
    logged.sort()
    found = buckets.of_values(np.array([s for s, _ in logged]), np.array([v for _, v in logged]), level)
    by_bucket: dict[int, list[tuple[int, float]]] = {}
    for step, value in logged:
        by_bucket.setdefault(step >> level, []).append((step, value))
    assert len(found.cells) == len(by_bucket)
    for cell, (_, mine) in zip(found.cells, sorted(by_bucket.items()), strict=True):
        finite = [value for _, value in mine if math.isfinite(value)]
        assert (cell["step"], cell["count"]) == (mine[-1][0], len(finite))
        assert cell["last"] == mine[-1][1] or math.isnan(mine[-1][1])
        assert cell["low"] == min(finite, default=math.inf)
        assert cell["high"] == max(finite, default=-math.inf)


def packed(rows: dict[int, dict[str, Value]]) -> Block:
    return block.pivot([Entry(step, float(step), values, 1, 1) for step, values in sorted(rows.items())])


def rows_of(found: Block) -> dict[int, dict[str, Value]]:
    rows: dict[int, dict[str, Value]] = {step: {} for step in found.steps.tolist()}
    for name, (values, there) in found.columns.items():
        for step, value, logged in zip(rows, block.values(values.tolist()), there.tolist(), strict=True):
            if logged:
                rows[step][name] = value
    return rows


@given(ROWS, ROWS.filter(bool))
def test_late_steps_merge_and_the_last_value_wins(
    known: dict[int, dict[str, Value]], late: dict[int, dict[str, Value]]
) -> None:
    wanted = {step: known.get(step, {}) | late.get(step, {}) for step in {*known, *late}}
    if not known:
        assert rows_of(packed(late)) == wanted
        return
    merged = block.merged(packed(known), packed(late))
    assert rows_of(packed(known) if merged is None else merged) == wanted
    assert (merged is None) == (wanted == known)


@pytest.mark.parametrize(
    ("logged", "wanted"),
    [
        (["train/loss", "train/grad_norm"], {"loss": "train/loss", "grad_norm_actor": "train/grad_norm"}),
        (
            ["loss", "rewards/chosen", "grad_norm"],
            {"loss": "loss", "reward_mean": "rewards/chosen", "grad_norm_actor": "grad_norm"},
        ),
        (["reward", "kl", "step_time"], {"reward_mean": "reward", "kl_divergence": "kl", "step_time": "step_time"}),
        (["actor/pg_loss", "actor/loss", "actor/ppo_kl"], {"loss": "actor/loss", "kl_divergence": "actor/ppo_kl"}),
        (["something/else"], {}),
    ],
)
def test_trainers_names_are_mapped(logged: list[str], wanted: dict[str, str]) -> None:
    assert sources_in(logged) == wanted


def test_what_verl_s_grpo_logs_is_mapped() -> None:
    logged = [
        "actor/pg_loss",
        "actor/kl_loss",
        "actor/loss",
        "actor/grad_norm",
        "actor/ppo_kl",
        "critic/rewards/mean",
        "critic/rewards/max",
        "critic/rewards/min",
        "actor/perf/max_memory_allocated_gb",
        "timing_s/step",
        "perf/time_per_step",
        "perf/throughput",
        "critic/score/mean",
    ]
    assert sources_in(logged) == {
        "loss": "actor/loss",
        "reward_mean": "critic/rewards/mean",
        "reward_max": "critic/rewards/max",
        "reward_min": "critic/rewards/min",
        "kl_divergence": "actor/kl_loss",
        "grad_norm_actor": "actor/grad_norm",
        "tokens_per_second": "perf/throughput",
        "step_time": "perf/time_per_step",
        "gpu_memory_allocated_gib": "actor/perf/max_memory_allocated_gb",
    }
