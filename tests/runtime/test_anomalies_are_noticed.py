"""What the trainer's own process notices at a step."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_runtime.anomalies import KL_METRICS, LOSS_METRICS, Detector, find_not_finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["train/loss", "critic/rewards/mean", "actor/ppo_kl", "actor/grad_norm"])
def test_losses_rewards_divergences_and_gradients_must_be_finite(name: str, value: float) -> None:
    found = find_not_finite({"perf/mfu": 1.0, name: value})
    assert found is not None
    assert (found.type, found.severity, found.metric) == ("nan_inf", "critical", name)


def test_other_metrics_may_be_anything() -> None:
    assert find_not_finite({"perf/mfu": math.inf, "train/loss": 1.0, "note": "nan"}) is None


@pytest.mark.parametrize("name", KL_METRICS)
@pytest.mark.parametrize(
    ("value", "severity"),
    [
        (0.99, None),
        (1.0, "warning"),
        (1.99, "warning"),
        (2.0, "error"),
        (4.9, "error"),
        (5.0, "critical"),
        (-5.0, "critical"),
    ],
)
def test_a_divergence_is_judged_by_multiples_of_the_threshold(name: str, value: float, severity: str | None) -> None:
    found = Detector().look(1, {name: value, "actor/entropy": 1.0})
    assert (found.severity if found else None) == severity
    if found:
        assert found.type == "kl_explosion"


def test_the_threshold_can_be_set() -> None:
    assert Detector(kl_threshold=10).look(1, {"critic/kl": 9.0}) is None
    assert Detector(kl_threshold=0.1).look(1, {"critic/kl": 0.5}) is not None


def test_a_flat_loss_is_told_once_after_its_patience() -> None:
    detector = Detector(patience=50)
    told = [step for step in range(1, 201) if detector.look(step, {"train/loss": 1.0})]
    assert told == [51]


def test_a_loss_that_falls_again_may_go_flat_again() -> None:
    detector = Detector(patience=10)
    losses = [1.0] * 20 + [0.5] * 20
    told = [step for step, loss in enumerate(losses, 1) if detector.look(step, {"train/loss": loss})]
    assert told == [11, 31]


def test_a_crawl_below_the_least_improvement_is_flat() -> None:
    detector = Detector(patience=20, min_delta=1e-3)
    told = [step for step in range(1, 60) if detector.look(step, {"train/loss": 1.0 - step * 1e-6})]
    assert told


@given(start=st.floats(0.1, 100), rate=st.floats(0.5, 0.99), steps=st.integers(1, 300))
def test_a_loss_that_keeps_falling_is_never_flat(start: float, rate: float, steps: int) -> None:
    detector = Detector()
    assert not [step for step in range(steps) if detector.look(step, {"loss": start * rate**step})]


def test_validation_in_between_changes_nothing() -> None:
    detector = Detector(patience=10)
    found = []
    for step in range(1, 30):
        found.append(detector.look(step, {"train/loss": 1.0, "train/lr": 1.0}))
        found.append(detector.look(step, {"val/loss": 2.0}))
    assert [anomaly.type for anomaly in found if anomaly] == ["loss_plateau"]


def test_a_name_that_comes_later_is_watched_too() -> None:
    detector = Detector()
    assert detector.look(1, {"a": 1.0, "train/loss": 1.0}) is None
    found = [detector.look(step, {"a": 1.0, "critic/kl": 9.0}) for step in range(2, 20)]
    assert all(found)


@given(
    st.dictionaries(
        st.sampled_from([*KL_METRICS, *LOSS_METRICS, "x"]), st.floats(allow_nan=True, allow_infinity=True), max_size=5
    ),
    st.integers(0, 10**9),
)
def test_no_numbers_make_it_fall_over(metrics: dict[str, float], step: int) -> None:
    detector = Detector()
    detector.look(step, metrics)
    detector.look(step + 1, metrics)
