"""Each rule on a series that must fire, on one that must not, and at its boundary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from monitoring.diagnostics.core import Severity, Value
from monitoring.diagnostics.engine import State, advance
from monitoring.diagnostics.rules import RULES, rules_for
from monitoring.diagnostics.rules.log_error import RULE as LOG_ERROR
from monitoring.diagnostics.rules.stall import RULE as STALL
from monitoring.diagnostics.rules.stall import State as StallState

from .series import diagnosed, of_rule, samples

Columns = Mapping[str, Sequence[Value | None]]


@dataclass(frozen=True)
class Fires:
    """`rule` finds `severity` at `metric` from `start` on; the worst mark has `value`."""

    rule: str
    algorithm: str
    columns: Columns
    metric: str
    start: int
    severity: Severity
    value: Value | None = None


def wave(n: int, mean: float, share: float = 0.1) -> list[float]:
    """Values that vary around a mean, the same each time."""
    return [mean * (1 + share * math.sin(i * 2.4)) for i in range(n)]


def ramp(n: int, start: float, end: float) -> list[float]:
    return [start + (end - start) * i / (n - 1) for i in range(n)]


REWARD, ENTROPY, LENGTH = "critic/rewards/mean", "actor/entropy", "response_length/mean"
CLIPPED, MISMATCH = "actor/pg_clipfrac", "training/rollout_probs_diff_mean"
TOO_LONG, VAL = "response_length/clip_ratio", "val-core/sums/reward/mean@1"
LOSS, GRAD, MARGIN = "train/loss", "train/grad_norm", "train/rewards/margins"
HIGHEST, LOWEST = "critic/advantages/max", "critic/advantages/min"
W, E, C = Severity.WARNING, Severity.ERROR, Severity.CRITICAL

FIRES = [
    Fires("nan_inf", "sft", {LOSS: [1.0, 0.9, "NaN", "NaN"]}, LOSS, 3, C),
    Fires("nan_inf", "sft", {GRAD: [1.0, "Infinity"]}, GRAD, 2, C, "Infinity"),
    Fires("nan_inf", "grpo", {"actor/pg_loss": [0.1, "-Infinity"]}, "actor/pg_loss", 2, C, "-Infinity"),
    Fires("kl_explosion", "grpo", {"actor/kl_loss": [0.1, 1.2]}, "actor/kl_loss", 2, W, 1.2),
    Fires("kl_explosion", "grpo", {"actor/kl_loss": [0.1, 1.2, 2.5]}, "actor/kl_loss", 2, E, 2.5),
    Fires("kl_explosion", "grpo", {"actor/ppo_kl": [0.1, -6.0]}, "actor/ppo_kl", 2, C, -6.0),
    Fires("kl_explosion", "grpo", {"kl": [0.1, 0.2, 7.0]}, "kl", 3, C, 7.0),
    Fires("loss_plateau", "sft", {LOSS: [*ramp(10, 3, 2), *wave(60, 2.2, 0.01)]}, LOSS, 60, W),
    Fires("loss_plateau", "sft", {LOSS: [4.0, 3.9, 9.0, 30.0, 60.0, 90.0]}, LOSS, 5, E),
    Fires("loss_plateau", "sft", {LOSS: [*ramp(50, 3.0, 0.1), *[2.0] * 60]}, LOSS, 100, W),
    Fires("loss_plateau", "dpo", {"loss": [0.7] * 60}, "loss", 51, W, 0.7),
    Fires("reward_collapse", "grpo", {REWARD: [*ramp(80, 0.1, 0.9), *[0.1] * 40]}, REWARD, 95, E),
    Fires("entropy_collapse", "grpo", {ENTROPY: [*[1.0] * 10, *[0.1] * 30]}, ENTROPY, 20, W),
    Fires("entropy_collapse", "grpo", {ENTROPY: [*[1.0] * 10, *[0.01] * 60]}, ENTROPY, 18, E),
    Fires("grad_spike", "sft", {GRAD: [*wave(60, 1.0), 8.0, *wave(10, 1.0)]}, GRAD, 61, W, 8.0),
    Fires("grad_spike", "grpo", {"actor/grad_norm": [*wave(60, 0.3), 30.0]}, "actor/grad_norm", 61, E, 30.0),
    Fires("rollout_mismatch", "grpo", {MISMATCH: [*[0.002] * 5, *[0.03] * 20]}, MISMATCH, 7, W),
    Fires("rollout_mismatch", "grpo", {MISMATCH: [0.2] * 5}, MISMATCH, 5, E, 0.2),
    Fires("rollout_corr", "grpo", {"rollout_corr/kl": [0.3] * 6}, "rollout_corr/kl", 5, W, 0.3),
    Fires(
        "rollout_corr", "grpo", {"rollout_corr/rollout_is_eff_sample_size": [0.1] * 6},
        "rollout_corr/rollout_is_eff_sample_size", 5, W, 0.1,
    ),
    Fires("rollout_corr", "grpo", {"rollout_corr/rollout_is_mean": [0.4] * 6}, "rollout_corr/rollout_is_mean", 5, W),
    Fires("rollout_corr", "grpo", {"rollout_corr/rollout_is_std": [1.5] * 6}, "rollout_corr/rollout_is_std", 5, W),
    Fires("clip_fraction", "grpo", {CLIPPED: [0.3] * 12}, CLIPPED, 10, W, 0.3),
    Fires("clip_fraction", "grpo", {CLIPPED: [0.6] * 12}, CLIPPED, 10, E, 0.6),
    Fires("zero_advantage", "grpo", {"frac_reward_zero_std": [0.7] * 12}, "frac_reward_zero_std", 10, W, 0.7),
    Fires("zero_advantage", "grpo", {HIGHEST: [0.0] * 12, LOWEST: [0.0] * 12}, HIGHEST, 10, E, 1.0),
    Fires("truncation", "grpo", {TOO_LONG: [0.15] * 22}, TOO_LONG, 20, W, 0.15),
    Fires("truncation", "grpo", {TOO_LONG: [0.4] * 22}, TOO_LONG, 20, E, 0.4),
    Fires("length_explosion", "grpo", {LENGTH: [*[100.0] * 20, *[300.0] * 40]}, LENGTH, 27, W),
    Fires(
        "length_explosion", "grpo",
        {
            LENGTH: [*[100.0] * 20, *[200.0] * 40],
            ENTROPY: [*[1.0] * 20, *[2.0] * 40],
            "actor/grad_norm": [*[0.5] * 20, *[1.0] * 40],
        },
        LENGTH, 27, E,
    ),
    Fires("reward_hacking", "grpo", {REWARD: ramp(8, 0.1, 0.9), VAL: [0.3] * 8}, REWARD, 5, W, 0.3),
    Fires("reward_hacking", "grpo", {REWARD: ramp(8, 0.1, 0.9), VAL: ramp(8, 0.5, 0.1)}, REWARD, 5, E),
    Fires("dpo_stuck", "dpo", {LOSS: wave(80, math.log(2), 0.005)}, LOSS, 51, W),
    Fires("dpo_stuck", "dpo", {LOSS: [0.69, *[0.001] * 49]}, LOSS, 14, W),
    Fires("dpo_stuck", "dpo", {LOSS: [0.69, *[0.001] * 49], MARGIN: [11.0] * 50}, LOSS, 14, W),
    Fires("dpo_stuck", "dpo", {LOSS: [0.4] * 80, MARGIN: [50.0] * 80}, LOSS, 51, W, 50.0),
    Fires("throughput_drop", "sft", {"perf/throughput": [*wave(50, 900), *[300.0] * 25]}, "perf/throughput", 70, W),
]  # fmt: skip


@pytest.mark.parametrize("case", FIRES, ids=lambda case: f"{case.rule}-{case.severity.word}-{case.metric}")
def test_a_rule_fires(case: Fires) -> None:
    found = of_rule(diagnosed(case.algorithm, samples(case.columns)), case.rule)
    finding = next(finding for finding in found if finding.metric == case.metric)
    assert (finding.start_step, finding.severity) == (case.start, case.severity)
    if case.value is not None:
        assert finding.value == pytest.approx(case.value)
    about = {"metric": finding.metric, "step": finding.start_step, "value": "", "threshold": ""}
    assert RULES[case.rule].messages[finding.code] % {**finding.params, **about}


SILENT: list[tuple[str, str, Columns]] = [
    ("nan_inf", "sft", {LOSS: [1.0, 1e300, 0.0], "timing_s/step": ["NaN"] * 3}),
    ("kl_explosion", "grpo", {"actor/kl_loss": [0.999, -0.999, 0.0]}),
    ("kl_explosion", "sft", {"kl": [50.0]}),
    ("loss_plateau", "sft", {LOSS: ramp(200, 3.0, 1.0)}),
    ("loss_plateau", "sft", {LOSS: [4.0, 4.1, 12.0, 4.0, 3.9, 3.8, 3.7, 3.6]}),
    ("loss_plateau", "sft", {LOSS: [2.0, *[2.1] * 49]}),
    ("loss_plateau", "grpo", {LOSS: [2.0] * 200}),
    ("reward_collapse", "grpo", {REWARD: [*ramp(80, 0.1, 0.9), *[0.6] * 40]}),
    ("reward_collapse", "grpo", {REWARD: wave(200, 0.3, 0.5)}),
    ("reward_collapse", "grpo", {REWARD: [*ramp(80, 0.1, 0.9), *[0.1] * 9, *[0.9] * 30]}),
    ("entropy_collapse", "grpo", {ENTROPY: ramp(100, 1.0, 0.3)}),
    ("entropy_collapse", "grpo", {ENTROPY: [*[0.02] * 10, *[0.0001] * 40]}),
    ("grad_spike", "sft", {GRAD: wave(200, 1.0, 0.8)}),
    ("grad_spike", "sft", {GRAD: [1.0, 50.0, *wave(60, 1.0)]}),
    ("rollout_mismatch", "grpo", {MISMATCH: [0.004] * 40}),
    ("rollout_mismatch", "grpo", {MISMATCH: [*[0.002] * 20, 0.03, *[0.002] * 20]}),
    ("rollout_corr", "grpo", {"rollout_corr/kl": [0.1] * 9, "rollout_corr/rollout_is_mean": [0.5] * 9}),
    ("clip_fraction", "grpo", {CLIPPED: [0.25] * 40}),
    ("clip_fraction", "gspo", {CLIPPED: [0.9] * 40}),
    ("zero_advantage", "grpo", {"frac_reward_zero_std": [0.49] * 40}),
    ("zero_advantage", "grpo", {HIGHEST: [1.0] * 40, LOWEST: [-1.0] * 40}),
    ("zero_advantage", "grpo", {HIGHEST: [0.0] * 40}),
    ("truncation", "grpo", {TOO_LONG: [0.1] * 40}),
    ("truncation", "grpo", {TOO_LONG: [0.9] * 19}),
    ("length_explosion", "grpo", {LENGTH: ramp(200, 100.0, 195.0)}),
    ("reward_hacking", "grpo", {REWARD: ramp(8, 0.1, 0.9), VAL: ramp(8, 0.1, 0.6)}),
    ("reward_hacking", "grpo", {REWARD: [0.5] * 8, VAL: ramp(8, 0.5, 0.1)}),
    ("reward_hacking", "grpo", {REWARD: ramp(4, 0.1, 0.9), VAL: [0.3] * 4}),
    ("dpo_stuck", "dpo", {LOSS: ramp(80, 0.69, 0.3), MARGIN: ramp(80, 0.0, 5.0)}),
    ("dpo_stuck", "dpo", {LOSS: [math.log(2)] * 50}),
    ("dpo_stuck", "dpo", {LOSS: [0.69, *[0.02] * 49], MARGIN: [9.0] * 50}),
    ("dpo_stuck", "sft", {LOSS: [0.69] * 200}),
    ("throughput_drop", "sft", {"perf/throughput": [*wave(50, 900), *[500.0] * 50]}),
    ("throughput_drop", "sft", {"perf/throughput": [*wave(50, 900), *[300.0] * 19, *wave(50, 900)]}),
]


@pytest.mark.parametrize(("rule", "algorithm", "columns"), SILENT)
def test_a_rule_stays_silent(rule: str, algorithm: str, columns: Columns) -> None:
    assert of_rule(diagnosed(algorithm, samples(columns)), rule) == []


@pytest.mark.parametrize(
    ("rule", "algorithm", "metric", "below", "at"),
    [
        ("kl_explosion", "grpo", "actor/kl_loss", [0.9999] * 3, [1.0] * 3),
        ("truncation", "grpo", TOO_LONG, [0.1] * 20, [0.1001] * 20),
        ("zero_advantage", "grpo", "frac_reward_zero_std", [0.4999] * 10, [0.5] * 10),
        ("rollout_mismatch", "grpo", MISMATCH, [0.01] * 5, [0.0101] * 5),
        ("clip_fraction", "grpo", CLIPPED, [0.25] * 10, [0.2501] * 10),
        ("rollout_corr", "grpo", "rollout_corr/kl", [-0.1] * 5, [-0.1001] * 5),
        ("loss_plateau", "sft", LOSS, [1.0] * 50, [1.0] * 51),
        ("loss_plateau", "sft", LOSS, [1.0, *[2.2] * 4], [1.0, *[2.25] * 4]),
        ("loss_plateau", "sft", LOSS, [*[1.0] * 50, 0.9989], [*[1.0] * 50, 0.999]),
    ],
)
def test_the_boundary_is_where_it_is_said_to_be(
    rule: str, algorithm: str, metric: str, below: list[float], at: list[float]
) -> None:
    assert of_rule(diagnosed(algorithm, samples({metric: below})), rule) == []
    assert len(of_rule(diagnosed(algorithm, samples({metric: at})), rule)) == 1


def test_a_loss_is_told_as_what_it_did() -> None:
    done = {
        "message": [1.0] * 51,
        "diverged": [1.0, *[2.3] * 4],
        "rose": [*ramp(50, 3.0, 0.1), *[2.0] * 50],
    }
    for code, values in done.items():
        (finding,) = of_rule(diagnosed("sft", samples({LOSS: values})), "loss_plateau")
        assert finding.code == code


def test_kl_is_worse_by_multiples_of_the_threshold() -> None:
    for value, severity in ((1.0, W), (1.99, W), (2.0, E), (4.99, E), (5.0, C)):
        (finding,) = of_rule(diagnosed("grpo", samples({"actor/kl_loss": [value]})), "kl_explosion")
        assert finding.severity is severity, value


def test_truncation_is_an_error_from_a_quarter() -> None:
    for value, severity in ((0.2499, W), (0.25, E)):
        (finding,) = of_rule(diagnosed("grpo", samples({TOO_LONG: [value] * 20})), "truncation")
        assert finding.severity is severity


def test_a_stall_is_long_by_the_clock_and_by_the_steps_of_the_run() -> None:
    limits = {"factor": 6.0, "after_s": 1800.0}
    state, marks = STALL.read(StallState(), [], limits)
    assert marks == []
    assert STALL.judge(state, 0, 1e6, limits) is None, "before the second step nobody knows how long one takes"
    for step_s, limit in ((10.0, 1800.0), (600.0, 3600.0)):
        state = StallState(values=(step_s,) * 5)
        assert STALL.judge(state, 7, limit, limits) is None
        mark = STALL.judge(state, 7, limit + 1, limits)
        assert mark is not None
        assert (mark.step, mark.threshold, mark.severity) == (7, limit, E)


def test_the_pace_of_a_run_is_learnt_from_its_steps() -> None:
    (state,) = diagnosed_state("sft", {LOSS: ramp(40, 3, 1)}, "stall", step_s=12.0)
    assert STALL.judge(state, 40, 73.0, {"factor": 6.0, "after_s": 0.0}) is not None
    assert STALL.judge(state, 40, 72.0, {"factor": 6.0, "after_s": 0.0}) is None


def diagnosed_state(algorithm: str, columns: Columns, rule: str, step_s: float) -> list[StallState]:
    return list(advance(State(), samples(columns, step_s=step_s), rules_for(algorithm)).state.metrics[rule].values())


TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n'


@pytest.mark.parametrize(
    ("log", "code"),
    [
        (f"step 1\n{TRACE}ValueError: no rows\n", "traceback"),
        (f"{TRACE}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n", "out_of_memory"),
        ("RuntimeError: NCCL error in: ../ProcessGroupNCCL.cpp:1\n", "nccl"),
        ("[E ProcessGroupNCCL.cpp:5] Watchdog caught collective operation timeout: ran for 600 s, timed out\n", "nccl"),
        ("step 3\nKilled\n", "killed"),
    ],
)
def test_the_log_tells_its_error_with_its_lines(log: str, code: str) -> None:
    mark = LOG_ERROR.scan(log, 12)
    assert mark is not None
    assert (mark.code, mark.step) == (code, 12)
    assert any(line and line in log for line in mark.params["lines"])


@pytest.mark.parametrize(
    "log", ["", "step 1: loss 0.3\nsaved\n", "UserWarning: an error may follow\n", "NCCL version 2.21"]
)
def test_a_log_without_errors_tells_none(log: str) -> None:
    assert LOG_ERROR.scan(log, 1) is None


def test_what_is_shown_of_a_long_traceback_ends_with_what_was_raised() -> None:
    mark = LOG_ERROR.scan(TRACE + "  File y\n" * 100 + "KeyError: 'x'\n", 1)
    assert mark is not None
    assert mark.params["lines"][-1] == "KeyError: 'x'"
    assert mark.params["said"] == "KeyError: 'x'"
    assert len(mark.params["lines"]) < 20


def test_every_rule_is_tried_here() -> None:
    tried = {case.rule for case in FIRES} | {"stall", "log_error"}
    assert tried == set(RULES)
    assert {rule for rule, _, _ in SILENT} | {"stall", "log_error"} == set(RULES)
