"""Trainings that are broken on purpose, for real: the doctor names each by its cause, and is silent where none is."""

import math
from pathlib import Path

import pytest

from monitoring.diagnostics.core import Finding, Sample, Severity
from pipelines.recipes import builtin
from platform_runtime.contract import ENV_STOP_ON_CRITICAL
from tests.monitoring.diagnostics.series import diagnosed

from .trainings import Training, need_training_environment

STOPS = {ENV_STOP_ON_CRITICAL: "1"}
SHORT = {"trainer.total_training_steps": 12}
RATE = builtin.TINY_SFT.params["optim.lr"]
assert isinstance(RATE, float)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_training_environment()
    return tmp_path_factory.mktemp("a data folder")


def findings(training: Training) -> list[Finding]:
    steps = [Sample(line["step"], line["time"], line["metrics"]) for line in training.lines()]
    return list(diagnosed("sft", steps).values())


@pytest.mark.timeout(300)
def test_a_healthy_training_is_let_be(root: Path) -> None:
    training = Training(root, builtin.TINY_SFT, SHORT, environment=STOPS).done()
    assert findings(training) == []


@pytest.mark.timeout(300)
def test_a_learning_rate_a_thousand_times_too_large_is_a_loss_that_diverges(root: Path) -> None:
    training = Training(root, builtin.TINY_SFT, {**SHORT, "optim.lr": RATE * 1000}, environment=STOPS).done()
    worst = max(findings(training), key=lambda one: one.severity)
    assert (worst.rule, worst.code, worst.metric) == ("loss_plateau", "diverged", "train/loss")
    assert worst.severity is Severity.ERROR


@pytest.mark.timeout(300)
def test_weights_that_are_no_numbers_stop_the_training_within_two_steps(root: Path) -> None:
    training = Training(root, builtin.TINY_SFT, {**SHORT, "optim.lr": 1e30}, environment=STOPS)
    assert training.exit.code == 1
    assert "TrainingStopped: nan_inf at step" in training.log
    first = next(finding for finding in findings(training) if finding.rule == "nan_inf")
    assert first.severity is Severity.CRITICAL
    broken = [line["step"] for line in training.lines() if "anomaly" in line and line["anomaly"]["type"] == "nan_inf"]
    assert broken == [first.start_step]
    assert training.lines()[-1]["step"] - first.start_step < 2
    assert math.isfinite(training.series("train/lr")[0])
