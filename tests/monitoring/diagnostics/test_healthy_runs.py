"""A hundred healthy runs an algorithm, made up with noise, drift and the odd spike: hardly ever an alarm."""

import pytest

from monitoring.diagnostics.core import Severity

from .series import diagnosed, healthy

RUNS = 100


@pytest.mark.parametrize("algorithm", ["sft", "dpo", "grpo"])
def test_at_most_one_of_a_hundred_healthy_runs_has_an_alarm(algorithm: str) -> None:
    alarms, warned = [], 0
    for seed in range(RUNS):
        found = diagnosed(algorithm, healthy(algorithm, seed), batch=50).values()
        alarms += [(seed, finding) for finding in found if finding.severity >= Severity.ERROR]
        warned += any(finding.severity is Severity.WARNING and finding.rule != "loss_plateau" for finding in found)
    assert len(alarms) <= 1, alarms
    # A loss that has converged is flat, and that is told; other warnings are to be rare.
    assert warned <= 5
