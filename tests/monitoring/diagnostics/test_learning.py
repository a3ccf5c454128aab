"""Healthy runs of a kind move the limits of the rules, by how far their own figures went, and within bounds."""

import random

import pytest

from monitoring.diagnostics.core import Sample, Severity
from monitoring.diagnostics.learning import LEAST_RUNS, Learnt, learn, merged, reach
from monitoring.diagnostics.rules import RULES, rules_for

from .series import diagnosed, healthy, of_rule, samples

TOO_LONG, KL, ENTROPY = "response_length/clip_ratio", "actor/kl_loss", "actor/entropy"
LEARNING = {name: rule for name, rule in RULES.items() if rule.learns is not None}


def reached(run: list[Sample], algorithm: str = "grpo") -> dict[str, float]:
    return reach(((1, run[at : at + 9]) for at in range(0, len(run), 9)), rules_for(algorithm))


@pytest.mark.parametrize(
    ("rule", "algorithm", "columns", "figure"),
    [
        ("truncation", "grpo", {TOO_LONG: [0.15] * 30}, 0.15),
        ("kl_explosion", "grpo", {KL: [0.1, -0.7, 0.3]}, 0.7),
        ("entropy_collapse", "grpo", {ENTROPY: [*[2.0] * 10, *[0.6] * 60]}, 0.3),
        ("clip_fraction", "grpo", {"actor/pg_clipfrac": [0.2] * 12}, 0.2),
        ("rollout_mismatch", "grpo", {"training/rollout_probs_diff_mean": [0.008] * 9}, 0.008),
        ("zero_advantage", "grpo", {"frac_reward_zero_std": [0.45] * 12}, 0.45),
        ("length_explosion", "grpo", {"response_length/mean": [*[100.0] * 20, *[180.0] * 90]}, 1.8),
        ("loss_plateau", "sft", {"train/loss": [2.0, *[3.0] * 30]}, 1.46),
    ],
)  # fmt: skip
def test_a_run_is_remembered_by_how_far_its_figure_went(
    rule: str, algorithm: str, columns: dict[str, list[float]], figure: float
) -> None:
    assert reached(samples(columns), algorithm)[rule] == pytest.approx(figure, rel=0.03)  # type: ignore[arg-type]


def test_every_rule_that_learns_is_tried_here() -> None:
    (mark,) = test_a_run_is_remembered_by_how_far_its_figure_went.pytestmark
    assert {case[0] for case in mark.args[1]} == set(LEARNING)


def test_a_rule_that_had_nothing_to_compare_is_left_out() -> None:
    assert reached(samples({TOO_LONG: [0.9] * 19})) == {}, "before twenty steps nothing is judged"
    assert "kl_explosion" not in reached(samples({ENTROPY: [1.0] * 30}))


def test_four_runs_are_too_few() -> None:
    runs = [{"truncation": 0.18}] * LEAST_RUNS
    assert learn(runs[:-1], RULES) == {}
    assert learn(runs, RULES)["truncation"].runs == LEAST_RUNS


def test_a_limit_lies_beyond_what_healthy_runs_do_and_the_others_move_along() -> None:
    learnt = learn([{"truncation": 0.18 + n / 1000} for n in range(9)], RULES)["truncation"]
    assert learnt == Learnt(9, {"warning": 0.2576, "error": 0.644})
    below = learn([{"entropy_collapse": 0.5}] * 6, RULES)["entropy_collapse"]
    assert below == Learnt(6, {"warning": 0.3, "error": 0.075})


def test_one_odd_run_moves_little_and_nothing_leaves_its_bounds() -> None:
    plain = learn([{"kl_explosion": 0.4}] * 9, RULES)["kl_explosion"].values["threshold"]
    odd = learn([*[{"kl_explosion": 0.4}] * 8, {"kl_explosion": 400.0}], RULES)["kl_explosion"].values["threshold"]
    assert odd == plain == pytest.approx(0.56)
    for rule in LEARNING.values():
        learns = rule.learns
        assert learns is not None
        for far in (0.0, 1e6):
            value = learn([{rule.name: far}] * 5, RULES)[rule.name].values[learns.limit]
            assert learns.least <= value <= learns.most
        assert learns.least <= rule.limits[learns.limit] <= learns.most


@pytest.mark.parametrize("algorithm", ["sft", "dpo", "grpo"])
def test_what_ten_runs_teach_makes_no_alarm_in_the_next_hundred(algorithm: str) -> None:
    learnt = learn([reached(healthy(algorithm, seed), algorithm) for seed in range(1000, 1010)], rules_for(algorithm))
    assert learnt
    limits = merged({}, learnt)
    alarms = [
        (seed, finding.rule)
        for seed in range(100)
        for finding in diagnosed(algorithm, healthy(algorithm, seed), limits=limits, batch=100).values()
        if finding.severity >= Severity.ERROR
    ]
    assert len(alarms) <= 1, alarms


def test_a_learnt_limit_is_the_one_that_the_rule_goes_by() -> None:
    run = samples({TOO_LONG: [0.2] * 30})
    assert of_rule(diagnosed("grpo", run), "truncation")[0].threshold == 0.1
    assert (
        of_rule(diagnosed("grpo", run, limits=merged({}, {"truncation": Learnt(5, {"warning": 0.25})})), "truncation")
        == []
    )


def test_the_order_of_runs_changes_nothing() -> None:
    runs = [{"kl_explosion": value} for value in (0.1, 0.5, 0.2, 0.9, 0.4, 0.3)]
    shuffled = random.Random(1).sample(runs, len(runs))
    assert learn(runs, RULES) == learn(shuffled, RULES)


def test_what_is_set_stays_beside_what_is_learnt() -> None:
    limits = merged(
        {"stall": {"factor": 6.0}, "truncation": {"window": 20}}, {"truncation": Learnt(5, {"warning": 0.2})}
    )
    assert limits == {"stall": {"factor": 6.0}, "truncation": {"window": 20, "warning": 0.2}}
