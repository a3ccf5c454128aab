"""A recipe that hides something from the diagnostics is told so, with the setting that shows it again."""

from dataclasses import replace

import pytest

from pipelines.recipes import builtin, yaml_text
from pipelines.recipes.diagnosability import BLIND_SPOTS, blind_spots
from pipelines.recipes.fixes import fixed
from pipelines.recipes.trainers import TRAINERS
from pipelines.recipes.validate import check

from .cases import recipe

ENTROPY = "actor_rollout_ref.actor.calculate_entropy"
PROBABILITIES = "actor_rollout_ref.rollout.calculate_log_probs"
SEEN = {
    ENTROPY: False,
    PROBABILITIES: True,
    "actor_rollout_ref.actor.entropy_coeff": 0,
    "algorithm.rollout_correction.bypass_mode": False,
}
SFT = TRAINERS["sft", "verl"]


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({}, []),
        ({"algorithm.rollout_correction.bypass_mode": True}, [ENTROPY]),
        ({"algorithm.rollout_correction.bypass_mode": True, ENTROPY: True}, []),
        (
            {"algorithm.rollout_correction.bypass_mode": True, "actor_rollout_ref.actor.entropy_coeff": 0.001},
            [],
        ),
        ({PROBABILITIES: False}, [PROBABILITIES]),
    ],
)
def test_what_blinds_a_rule_is_told(changed, keys):
    assert [problem.key for problem in blind_spots({**SEEN, **changed})] == keys


@pytest.mark.parametrize("spot", BLIND_SPOTS, ids=lambda spot: spot.key)
def test_the_fix_helps_and_is_said_with_the_rules_that_see_nothing(spot):
    blind = {**SEEN, PROBABILITIES: False, "algorithm.rollout_correction.bypass_mode": True}
    problem = next(one for one in blind_spots(blind) if one.key == spot.key)
    assert all(rule in problem.message for rule in spot.rules)
    seen = {**blind, spot.key: yaml_text.read_value(problem.suggestion)}
    assert spot.key not in [one.key for one in blind_spots(seen)]


def test_nobody_is_asked_for_what_a_recipe_may_not_set_or_a_trainer_does_not_have():
    assert list(blind_spots({**SEEN, PROBABILITIES: False}, {PROBABILITIES})) == []
    assert list(blind_spots({"optim.lr": 1})) == []


@pytest.mark.parametrize(
    ("params", "suggestion"),
    [
        ({"trainer.save_freq": -1, "trainer.total_epochs": 3}, "after_each_epoch"),
        ({"trainer.save_freq": -1, "trainer.total_epochs": 1}, "100"),
        ({"trainer.save_freq": -1, "trainer.total_training_steps": 24}, "6"),
        ({"trainer.save_freq": -1, "trainer.total_training_steps": 1}, "1"),
        ({"checkpoint.save_contents": ["extra"]}, "[model, optimizer, extra]"),
    ],
)
def test_a_run_that_would_leave_nothing_to_look_at_is_told_and_the_fix_ends_it(params, suggestion):
    spec = recipe(params)
    (warning,) = check(spec).warnings
    assert warning.suggestion == suggestion
    again = check(recipe(fixed(SFT, spec.params, warning.key, suggestion)))
    assert (again.errors, again.warnings) == ((), ())


@pytest.mark.parametrize(
    ("params", "key", "suggestion", "becomes"),
    [
        ({"optim.lrr": 1}, "optim.lrr", "optim.lr", {"optim.lr": 1}),
        ({"optim.lrr": 1, "optim.lr": 2}, "optim.lrr", "optim.lr", {"optim.lrr": 1, "optim.lr": 2}),
        ({}, "optim.lrr", "optim.lr", {}),
        ({"optim.lr": "1e-4"}, "optim.lr", "0.0001", {"optim.lr": 0.0001}),
        ({}, "data.truncation", "right", {"data.truncation": "right"}),
        ({}, "optim.optimizer", "1", {"optim.optimizer": "1"}),
        ({}, "optim.betas", "[0.9", {}),
    ],
)
def test_a_suggestion_is_a_value_for_its_key_or_the_key_that_was_meant(params, key, suggestion, becomes):
    assert fixed(SFT, params, key, suggestion) == becomes


@pytest.mark.parametrize("spot", BLIND_SPOTS, ids=lambda spot: spot.key)
def test_a_recipe_for_grpo_is_warned_by_the_check(spot):
    grpo = TRAINERS["grpo", "verl"]
    assert {spot.key, "algorithm.rollout_correction.bypass_mode"} <= grpo.tree().leaves.keys()
    params = {**builtin.TINY_GRPO.params, PROBABILITIES: False, "algorithm.rollout_correction.bypass_mode": True}
    spec = replace(builtin.TINY_GRPO.spec, params=params)
    found = check(spec)
    assert found.errors == ()
    assert spot.key in [warning.key for warning in found.warnings]
