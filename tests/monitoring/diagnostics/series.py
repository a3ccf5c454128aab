"""Runs made up for the doctor: healthy ones by algorithm, and plain series of one metric."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence

from monitoring.diagnostics.core import Finding, Sample, Value
from monitoring.diagnostics.engine import Limits, State, advance
from monitoring.diagnostics.rules import rules_for


def samples(columns: Mapping[str, Sequence[Value | None]], *, first: int = 1, step_s: float = 2.0) -> list[Sample]:
    """Steps from columns of values; None where a metric was not logged."""
    length = max(len(column) for column in columns.values())
    return [
        Sample(
            first + i,
            1_763_800_000 + step_s * i,
            {name: column[i] for name, column in columns.items() if i < len(column) and column[i] is not None},  # type: ignore[misc]
        )
        for i in range(length)
    ]


def diagnosed(
    algorithm: str, given: Iterable[Sample], *, limits: Limits | None = None, batch: int = 7
) -> dict[tuple[str, str, int], Finding]:
    """The findings of a run, read as it is while it runs: a few steps at a time, and the state through JSON."""
    rules = rules_for(algorithm)
    state, found = State(), {}
    given = list(given)
    for at in range(0, len(given), batch):
        seen = advance(state, given[at : at + batch], rules, limits)
        restored = State.from_json(seen.state.to_json(), rules)
        assert restored == seen.state
        state = restored
        found |= {finding.key: finding for finding in seen.findings}
    return found


def of_rule(found: Mapping[tuple[str, str, int], Finding], rule: str) -> list[Finding]:
    return [finding for finding in found.values() if finding.rule == rule]


def healthy(algorithm: str, seed: int, steps: int = 400) -> list[Sample]:
    """A run as it should be, with the noise, the odd spike and the drift that healthy runs have."""
    chance = random.Random(f"{algorithm}-{seed}")
    make = {"sft": _sft, "dpo": _dpo, "grpo": _grpo}[algorithm]
    return samples(make(chance, steps))


def _noisy(chance: random.Random, values: Iterable[float], share: float) -> list[float]:
    return [value * math.exp(chance.gauss(0, share)) for value in values]


def _sft(chance: random.Random, n: int) -> dict[str, list[float | None]]:
    low, pace = chance.uniform(0.3, 1.5), chance.uniform(20, 120)
    curve = [low + (chance.uniform(2, 4) if i == 0 else 3) * math.exp(-i / pace) for i in range(n)]
    gradient = [chance.uniform(0.5, 1.0) + 2 * math.exp(-i / pace) for i in range(n)]
    loss = _noisy(chance, curve, 0.06)
    return {
        "train/loss": loss,
        "train/grad_norm": [g * (2.5 if chance.random() < 0.01 else 1) for g in _noisy(chance, gradient, 0.2)],
        "train/tokens_per_second": _noisy(chance, [5000.0] * n, 0.12),
        "val/loss": [loss[i] * 1.05 if i % 20 == 19 else None for i in range(n)],
    }


def _dpo(chance: random.Random, n: int) -> dict[str, list[float | None]]:
    pace, floor = chance.uniform(60, 200), chance.uniform(0.2, 0.5)
    fall = [math.exp(-i / pace) for i in range(n)]
    return {
        "train/loss": _noisy(chance, [floor + (math.log(2) - floor) * f for f in fall], 0.05),
        "train/rewards/margins": _noisy(chance, [0.05 + chance.uniform(3, 5) * (1 - f) for f in fall], 0.15),
        "train/grad_norm": _noisy(chance, [chance.uniform(5, 8)] * n, 0.25),
        "train/tokens_per_second": _noisy(chance, [3000.0] * n, 0.12),
    }


def _grpo(chance: random.Random, n: int) -> dict[str, list[float | None]]:
    start, rise, pace = chance.uniform(0.05, 0.3), chance.uniform(0.2, 0.6), chance.uniform(50, 200)
    up = [1 - math.exp(-i / pace) for i in range(n)]
    reward = [min(1.0, max(0.0, start + rise * u + chance.gauss(0, 0.05))) for u in up]
    length = chance.uniform(150, 300)
    return {
        "critic/rewards/mean": reward,
        "val-core/math/reward/mean@1": [
            start + rise * up[i] * 0.9 + chance.gauss(0, 0.02) if i % 20 == 19 else None for i in range(n)
        ],
        "actor/entropy": _noisy(chance, [0.4 + 0.8 * (1 - 0.7 * u) for u in up], 0.08),
        "actor/grad_norm": _noisy(chance, [chance.uniform(0.1, 0.4)] * n, 0.3),
        "actor/ppo_kl": [abs(chance.gauss(0, 0.002)) for _ in up],
        "actor/kl_loss": _noisy(chance, [0.001 + 0.1 * u for u in up], 0.2),
        "actor/pg_clipfrac": _noisy(chance, [0.01] * n, 0.5),
        "actor/pg_loss": [chance.gauss(0, 0.1) for _ in up],
        "training/rollout_probs_diff_mean": _noisy(chance, [0.003] * n, 0.2),
        "rollout_corr/kl": [abs(chance.gauss(0.001, 0.001)) for _ in up],
        "response_length/mean": _noisy(chance, [length * (1 + 0.4 * u) for u in up], 0.08),
        "response_length/clip_ratio": [max(0.0, chance.gauss(0.03, 0.01)) for _ in up],
        "critic/advantages/max": [abs(chance.gauss(2, 0.3)) for _ in up],
        "critic/advantages/min": [-abs(chance.gauss(2, 0.3)) for _ in up],
        "perf/throughput": _noisy(chance, [900.0] * n, 0.15),
    }
