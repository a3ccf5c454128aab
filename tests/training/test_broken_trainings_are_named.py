"""Trainings that are broken on purpose, for real: the doctor names each by its cause, and is silent where none is."""

import math
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from monitoring.diagnostics.core import Finding, Sample, Severity
from monitoring.diagnostics.engine import State, advance
from monitoring.diagnostics.rules import rules_for
from monitoring.diagnostics.rules.stall import RULE as STALL
from pipelines.recipes import builtin
from platform_runtime import processes
from platform_runtime.contract import ENV_STOP_ON_CRITICAL
from tests.monitoring.diagnostics.series import diagnosed

from .test_grpo_ends import at_step
from .trainings import PYTHON, Training, need_training_environment

STOPS = {ENV_STOP_ON_CRITICAL: "1"}
SHORT = {"trainer.total_training_steps": 12}
RATE = builtin.TINY_SFT.params["optim.lr"]
assert isinstance(RATE, float)


ACTOR = "actor_rollout_ref.actor"
HACKABLE = {
    # Digits are rewarded, whatever they say, and nothing holds the model to what it was.
    "reward.custom_reward_function.reward_kwargs.exact_match": 0.0,
    f"{ACTOR}.use_kl_loss": True,
    f"{ACTOR}.kl_loss_coef": 0.0,
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 32,
    "trainer.save_freq": -1,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_training_environment()
    return tmp_path_factory.mktemp("a data folder")


def logged(training: Training) -> list[Sample]:
    return [Sample(line["step"], line["time"], line["metrics"]) for line in training.lines()]


def findings(training: Training, algorithm: str = "sft") -> list[Finding]:
    return list(diagnosed(algorithm, logged(training)).values())


def named(training: Training, algorithm: str = "grpo") -> dict[str, str]:
    """The rules that found something, with the worst that they found."""
    worst: dict[str, Severity] = {}
    for one in findings(training, algorithm):
        worst[one.rule] = max(one.severity, worst.get(one.rule, one.severity))
    return {rule: severity.word for rule, severity in worst.items()}


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


@pytest.mark.timeout(300)
def test_no_divergence_coefficient_and_a_reward_that_can_be_hacked_is_a_kl_explosion(root: Path) -> None:
    """The rate is thirty times too large as well, so that a few steps show it; the reward rises all the while."""
    training = Training(
        root, builtin.TINY_GRPO, {**HACKABLE, f"{ACTOR}.optim.lr": 0.03, "trainer.total_training_steps": 6}
    ).done()
    assert named(training) == {"kl_explosion": "error"}
    rewards = training.series("critic/rewards/mean")
    assert rewards[-1] > 3 * rewards[0]


@pytest.mark.timeout(300)
def test_a_rate_a_thousand_times_too_large_explodes_and_stops_the_training_in_the_step(root: Path) -> None:
    settings = {**HACKABLE, f"{ACTOR}.optim.lr": 1.0, "trainer.total_training_steps": 24}
    training = Training(root, builtin.TINY_GRPO, settings, environment=STOPS)
    assert training.exit.code == 1
    assert "TrainingStopped: kl_explosion at step" in training.log
    assert named(training) == {"kl_explosion": "critical"}
    critical = next(step.step for step in logged(training) if abs(float(step.values["actor/kl_loss"])) >= 5)
    assert training.lines()[-1]["step"] - critical < 2
    assert critical < 10


@pytest.mark.timeout(400)
def test_crushed_entropy_and_answers_without_an_end_are_named(root: Path) -> None:
    """A reward for being sure of itself; and answers of four tokens, which no sentence fits into."""
    settings = {
        f"{ACTOR}.entropy_coeff": -0.5,
        f"{ACTOR}.optim.lr": 0.003,
        "data.max_response_length": 4,
        "trainer.total_training_steps": 24,
        "trainer.save_freq": -1,
    }
    training = Training(root, builtin.TINY_GRPO, settings, environment=STOPS).done()
    found = named(training)
    assert {"entropy_collapse", "truncation"} <= set(found)
    assert found["truncation"] == "error"
    assert "critical" not in found.values()
    (crushed,) = [one for one in findings(training, "grpo") if one.rule == "entropy_collapse"]
    assert crushed.metric == "actor/entropy"


@pytest.mark.timeout(200)
def test_a_frozen_loader_is_a_run_that_stands_still_with_the_stack_that_says_so(root: Path) -> None:
    """The process that loads the rows is stopped; the trainer waits for it, and nothing else is wrong."""
    settings = {"trainer.total_epochs": 50, "trainer.total_training_steps": 400}
    loader = ("num_workers: 0", "num_workers: 1")
    training = Training(root, builtin.TINY_SFT, settings, environment=STOPS, rewritten=loader)
    at_step(training, 3, 120)
    trainer = training.run.started().child_pid
    loaders = [pid for pid in processes.family(processes.everyone(), [trainer]) if pid != trainer]
    assert loaders
    for pid in loaders:
        os.kill(pid, signal.SIGSTOP)
    try:
        still = standing(training, 5.0)
        steps = logged(training)
        state = advance(State(), steps, rules_for("sft")).state.metrics["stall"][""]
        limits = {**STALL.limits, "after_s": 2.0}
        mark = STALL.judge(state, steps[-1].step, time.time() - float(steps[-1].time or 0), limits)
        assert mark is not None
        assert (mark.step, mark.severity) == (still, Severity.ERROR)
        assert findings(training) == []
        code = [PYTHON, "-P", "-m", "platform_runtime.stacks", training.folder.path]
        path = {"PYTHONPATH": str(Path(root, "runtime/copy")), "PATH": os.environ["PATH"]}
        stacks = subprocess.run(code, env=path, capture_output=True, text=True, check=True).stdout
        assert "torch/utils/data/dataloader.py" in stacks
    finally:
        for pid in [trainer, *loaders]:
            os.kill(pid, signal.SIGKILL)
    assert training.run.ended(60).signal == signal.SIGKILL


def standing(training: Training, for_s: float) -> int:
    """The last step, once none has come for so long."""
    until = time.monotonic() + 60
    last, since = training.lines()[-1]["step"], time.monotonic()
    while time.monotonic() - since < for_s:
        assert time.monotonic() < until, "it goes on"
        time.sleep(0.2)
        if (now := training.lines()[-1]["step"]) != last:
            last, since = now, time.monotonic()
    return int(last)
