"""GRPO on verl's PPO trainer, for real: the built-in recipe on the built-in prompts, by the runner, in a bare copy."""

import json
import math
import os
from pathlib import Path

import pytest

from pipelines.recipes import builtin
from platform_runtime import checkpoints, probe, rollouts

from .test_broken_trainings_are_named import findings
from .trainings import Training, in_training_environment, need_training_environment

MERGE = """
import json, sys
from platform_runtime import weights
from transformers import AutoModelForCausalLM
folder, _ = weights.whole(sys.argv[2], sys.argv[1] + "/merged")
print(json.dumps(sum(one.numel() for one in AutoModelForCausalLM.from_pretrained(folder).parameters())))
"""


def answers(training: Training) -> str:
    return os.path.join(training.folder.path, rollouts.FOLDER)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_training_environment()
    return tmp_path_factory.mktemp("a data folder")


@pytest.fixture(scope="module")
def trained(root: Path) -> Training:
    return Training(root, builtin.TINY_GRPO).done()


@pytest.mark.timeout(300)
def test_the_reward_rises(trained: Training) -> None:
    rewards = trained.series("critic/rewards/mean")
    assert len(rewards) == trained.target >= 12
    assert all(math.isfinite(value) for value in rewards)
    assert sum(rewards[-4:]) / 4 > 2 * sum(rewards[:4]) / 4 + 0.1


def test_the_doctor_has_nothing_to_say(trained: Training) -> None:
    assert findings(trained, "grpo") == []


def test_every_step_is_one_line_in_order(trained: Training) -> None:
    lines = trained.lines()
    assert [line["step"] for line in lines] == list(range(1, trained.target + 1))
    assert {"actor/pg_loss", "actor/grad_norm", "reward/digits/mean"} <= set(lines[0]["metrics"])
    assert not [line for line in lines if "anomaly" in line]


def test_status_and_checkpoint_say_that_the_target_was_reached(trained: Training) -> None:
    seen = probe.probe_run(trained.folder.path)
    assert (seen["status"]["state"], seen["status"]["step"]) == ("finished", trained.target)
    assert seen["status"]["target_step"] == trained.target
    assert (trained.exit.checkpoint.step, trained.exit.checkpoint.ok) == (trained.target, True)
    assert checkpoints.steps(trained.folder.checkpoints) == [15, 10]


def test_the_answers_of_every_step_are_there(trained: Training) -> None:
    assert rollouts.steps(answers(trained)) == list(range(1, trained.target + 1))
    told = trained.series("critic/rewards/mean")
    for step in rollouts.steps(answers(trained)):
        found = rollouts.parse(Path(rollouts.path(answers(trained), step)).read_bytes())
        assert [(one.group, one.sample) for one in found] == [(group, n) for group in range(4) for n in range(8)]
        assert {one.step for one in found} == {step}
        assert sum(float(one.reward) for one in found) / len(found) == pytest.approx(told[step - 1], rel=1e-4)
        for one in found:
            assert one.reward == pytest.approx(float(one.parts["digits"]) + float(one.parts["exact_match"]), rel=1e-4)


def test_an_answer_goes_with_its_prompt(trained: Training) -> None:
    rows = [json.loads(line) for line in builtin.ARITHMETIC_PROMPTS.content().splitlines()]
    for one in rollouts.parse(Path(rollouts.path(answers(trained), trained.target)).read_bytes()):
        assert one.row is not None
        assert one.prompt == [{"role": "user", "content": rows[one.row]["prompt"]}]
        assert one.answer == rows[one.row]["answer"]
        assert 0 < one.tokens <= 16


def test_nothing_of_ray_is_left(trained: Training) -> None:
    assert not os.path.exists(os.path.join(trained.folder.path, "ray"))
    assert "that the command left running" not in trained.log


@pytest.mark.timeout(120)
def test_a_checkpoint_becomes_a_model(trained: Training, tmp_path: Path) -> None:
    parameters = in_training_environment(MERGE, tmp_path, trained.checkpoint(trained.target))
    assert parameters > 3_000_000


@pytest.mark.timeout(300)
def test_it_goes_on_from_a_checkpoint(root: Path, trained: Training) -> None:
    again = Training(root, builtin.TINY_GRPO, resume_from=trained.checkpoint(10)).done()
    assert [line["step"] for line in again.lines()] == list(range(11, trained.target + 1))
    # The same weights, prompts and chances: the same rewards as without the interruption.
    assert again.series("critic/rewards/mean") == pytest.approx(trained.series("critic/rewards/mean")[10:], abs=0.05)
    assert rollouts.steps(answers(again)) == list(range(11, trained.target + 1))
    assert again.exit.checkpoint.ok
