"""A real run under a real runner writes rollouts; the observer finds them as they come, and the rest at its end."""

import time
from pathlib import Path
from typing import Any

import pytest

from environments.transports import Transport
from monitoring.models import RolloutFile, Stream
from monitoring.rollout_selectors import attempts_at, rollouts
from monitoring.services.rollouts import LOOK
from monitoring.services.sync import SyncResult, open_segment
from pipelines.folders import run_folder
from pipelines.kinds import registry
from pipelines.kinds.train_model import TrainModel
from pipelines.models import Attempt, Stage
from pipelines.services.delete import delete_pipeline
from platform_runtime.contract import Command

from . import builders
from .conftest import Hands, ScriptKind
from .watched import give_job

pytestmark = pytest.mark.django_db(transaction=True)

WRITE = """
import pathlib, sys, time
from platform_runtime import rollouts
from platform_runtime.rollouts import Sample
def write(step, reward=1.0):
    prompt = [{"role": "user", "content": "What?"}]
    rollouts.write("rollouts", step, [Sample(step, 0, n, None, prompt, "so", 2, "42", reward) for n in range(2)])
attempt = int(pathlib.Path.cwd().name.removeprefix("attempt-"))
def wait(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.02)
"""


class ByReward(ScriptKind):
    """A script that is followed as a training is."""

    name = "script-by-reward"
    has_stream = True

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        open_segment(stage.id, attempt=attempt.number, path=run_folder(attempt).metrics)
        return super().prepare(stage, params, attempt, transport)

    def observe(self, stage: Stage, attempt: Attempt, transport: Transport) -> SyncResult:
        return TrainModel().observe(stage, attempt, transport)


registry.register(ByReward())


def script(hands: Hands, code: str, **fields: Any) -> Stage:
    pipeline = builders.pipeline(builders.PipelineStatus.PENDING)
    stage = hands.script(WRITE + code, of=pipeline, **fields)
    Stage.objects.filter(pk=stage.pk).update(kind=ByReward.name)
    give_job(stage)
    hands.begin(pipeline)
    stage.refresh_from_db()
    return stage


def read(stage: Stage, attempt: int = 1) -> list[int]:
    """The steps whose figures are known."""
    found = RolloutFile.objects.filter(segment__stream=stage.pk, segment__attempt=attempt, samples=2)
    return list(found.order_by("step").values_list("step", flat=True))


def test_steps_are_found_while_the_run_goes_on(hands: Hands) -> None:
    stage = script(hands, "write(1); wait('go'); write(2)")
    attempt = hands.launch(stage)
    hands.wait(lambda: read(stage) == [1])
    assert hands.status(stage) == "running"
    Path(attempt.folder, "go").touch()
    assert hands.until(stage) == "completed"
    assert read(stage) == [1, 2]


def test_all_that_a_run_leaves_at_its_end_is_found(hands: Hands) -> None:
    steps = LOOK.files * 3
    stage = script(hands, f"for step in range(1, {steps + 1}): write(step)")
    attempt = hands.launch(stage)
    # Nobody looks before all of it is there.
    deadline = time.monotonic() + 20
    while not Path(run_folder(attempt).exit).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert hands.until(stage) == "completed"
    assert read(stage) == list(range(1, steps + 1))


def test_rubbish_among_them_ends_no_run(hands: Hands) -> None:
    stage = script(
        hands,
        "import os\nwrite(1)\nos.mkfifo('rollouts/2.jsonl')\nos.mkdir('rollouts/3.jsonl')\n"
        "os.symlink('/etc/passwd', 'rollouts/4.jsonl')\npathlib.Path('rollouts/5.jsonl').write_bytes(b'\\xff{')",
    )
    hands.launch(stage)
    assert hands.until(stage) == "completed"
    problems = dict(RolloutFile.objects.order_by("step").values_list("step", "problem"))
    assert [bool(problem) for problem in problems.values()] == [False, True, True, True, False]
    assert RolloutFile.objects.get(step=5).bad_lines == 1


def test_both_attempts_of_a_retried_run_can_be_told_apart(hands: Hands) -> None:
    stage = script(
        hands, "write(1, 0.0 if attempt == 1 else 1.0)\nif attempt == 1: write(2); sys.exit(1)", max_retries=1
    )
    hands.launch(stage)
    hands.until(stage, builders.StageStatus.QUEUED)
    Stage.objects.filter(pk=stage.pk).update(not_before=None)
    hands.launch(stage)
    assert hands.until(stage) == "completed"
    assert (read(stage, 1), read(stage, 2)) == ([1, 2], [1])
    segments = list(Stream.objects.get(pk=stage.pk).segments.all())
    assert [(one.step, one.reward_mean) for one in rollouts(segments)] == [(1, 1.0)]
    assert [one.step for one in rollouts(segments, attempt=1)] == [1, 2]
    assert attempts_at(stage.pk, 1) == [1, 2]


def test_they_go_when_the_run_is_deleted(hands: Hands) -> None:
    stage = script(hands, "write(1)")
    attempt = hands.launch(stage)
    assert hands.until(stage) == "completed"
    assert read(stage) == [1]
    delete_pipeline(stage.pipeline, user=builders.person())
    assert not RolloutFile.objects.exists()
    assert not Path(attempt.folder).exists()
