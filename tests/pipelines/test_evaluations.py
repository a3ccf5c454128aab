"""An evaluation stage: what it takes, where it may stand, and how its end is judged. Without a model."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from environments.models import Host
from environments.transports import for_host
from pipelines.folders import run_folder
from pipelines.kinds import RunnerKind, kind_of, needs_training_environment, summary_of
from pipelines.models import Attempt, Stage
from pipelines.services import builtin, dispatch
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline, problems
from platform_runtime.evaluate import UNUSABLE, WORK, Task

from . import builders
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)

TRAIN = StageSpec("train", "train_model", {"recipe": "tiny-sft"})
SUITE = "arithmetic-eval"


@pytest.fixture
def installed(hands: Hands) -> Hands:
    builtin.install()
    Host.objects.update(python=sys.executable)
    return hands


def wrong(*stages: StageSpec) -> dict[str, str]:
    return problems(builders.person(), PipelineSpec("p", list(stages)))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"model": "builtin:tiny-llama"}, "suite"),
        ({"suite": 3, "model": "builtin:tiny-llama"}, "suite"),
        ({"suite": "no-such", "model": "builtin:tiny-llama"}, "suite"),
        ({"suite": f"{SUITE}@7", "model": "builtin:tiny-llama"}, "suite"),
        ({"suite": "arithmetic", "model": "builtin:tiny-llama"}, "suite"),
        ({"suite": SUITE}, "of"),
        ({"suite": SUITE, "of": "train", "model": "builtin:tiny-llama"}, "of"),
        ({"suite": SUITE, "of": 3}, "of"),
        ({"suite": SUITE, "model": "builtin:no-such"}, "model"),
        ({"suite": SUITE, "model": "../model"}, "model"),
        ({"suite": SUITE, "model": ["x/y"]}, "model"),
        ({"suite": SUITE, "model": "builtin:tiny-llama", "step": 3}, "step"),
        ({"suite": SUITE, "of": "train", "step": -1}, "step"),
        ({"suite": SUITE, "of": "train", "step": True}, "step"),
        ({"suite": SUITE, "model": "builtin:tiny-llama", "limit": 0}, "limit"),
        ({"suite": SUITE, "model": "builtin:tiny-llama", "limit": 1.5}, "limit"),
        ({"suite": SUITE, "model": "builtin:tiny-llama", "max_tokens": 10**6}, "max_tokens"),
        ({"suite": SUITE, "model": "builtin:tiny-llama", "extract": "first"}, "extract"),
        ({"suite": SUITE, "model": "builtin:tiny-llama", "extract": ["text"]}, "extract"),
        ({"suite": SUITE, "model": "builtin:tiny-llama", "host": "no-such"}, "host"),
        ({"suite": SUITE, "model": "builtin:tiny-llama", "temperature": 1}, "temperature"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(installed: Hands, params: dict[str, Any], field: str) -> None:
    found = wrong(TRAIN, StageSpec("eval", "run_evaluation", params, ("train",)))
    assert set(found) == {f"stages.1.params.{field}"}, found


@pytest.mark.parametrize(
    "params",
    [
        {"suite": SUITE, "of": "train"},
        {"suite": f"{SUITE}@1", "of": "train", "step": 16, "limit": 8, "max_tokens": 32, "extract": "last_number"},
        {"suite": SUITE, "model": "builtin:tiny-llama", "host": "local"},
        {"suite": SUITE, "model": "organisation/model"},
        {"suite": "{{ stages.train.result.suite }}", "of": "train", "limit": "{{ stages.train.result.final_step }}"},
    ],
)
def test_what_can_be_is_taken(installed: Hands, params: dict[str, Any]) -> None:
    assert wrong(TRAIN, StageSpec("eval", "run_evaluation", params, ("train",))) == {}


def test_a_training_that_is_not_above_cannot_be_evaluated(installed: Hands) -> None:
    beside = StageSpec("eval", "run_evaluation", {"suite": SUITE, "of": "train"})
    assert "No training stands above" in wrong(TRAIN, beside)["stages.1.params.of"]
    other = StageSpec("eval", "run_evaluation", {"suite": SUITE, "of": "other"}, ("train",))
    assert "There are: train" in wrong(TRAIN, other)["stages.1.params.of"]


def test_the_version_of_the_suite_is_the_one_of_the_beginning(installed: Hands) -> None:
    spec = PipelineSpec("p", [StageSpec("eval", "run_evaluation", {"suite": SUITE, "model": "builtin:tiny-llama"})])
    stage = Stage.objects.get(pipeline=create_pipeline(user=builders.person(), spec=spec))
    assert (stage.params["suite"], stage.queue) == (f"{SUITE}@1", "evaluation")


def test_it_waits_for_the_training_environment_whatever_its_queue_is(installed: Hands) -> None:
    assert needs_training_environment("run_evaluation")
    assert not needs_training_environment("preprocess_dataset")
    asked = StageSpec("eval", "run_evaluation", {"suite": SUITE, "model": "builtin:tiny-llama"}, queue="default")
    pipeline = create_pipeline(user=builders.person(), spec=PipelineSpec("p", [asked]), start=True)
    Host.objects.update(python="/no/python")
    dispatch.dispatch()
    stage = Stage.objects.get(pipeline=pipeline)
    assert (stage.status, "training environment" in stage.waiting_for) == ("queued", True)


def begun(hands: Hands, **params: Any) -> tuple[Stage, Attempt]:
    """An evaluation that was prepared, with what its folder then holds; nothing runs."""
    stages = [StageSpec("eval", "run_evaluation", {"suite": SUITE, "model": "builtin:tiny-llama", **params})]
    pipeline = create_pipeline(user=builders.person(), spec=PipelineSpec("p", stages), start=True)
    dispatch.dispatch()
    stage = Stage.objects.get(pipeline=pipeline)
    return stage, hands.attempt(stage)


def runner() -> RunnerKind:
    kind = kind_of("run_evaluation")
    assert isinstance(kind, RunnerKind)
    return kind


def test_it_gets_its_task_and_no_secret(installed: Hands) -> None:
    stage, attempt = begun(installed, limit=3)
    command = runner().prepare(stage, stage.params, attempt, for_host(installed.host))
    task = Task.from_bytes(Path(attempt.folder, "task.json").read_bytes())
    assert (task.model, task.checkpoint, task.limit, task.max_tokens) == ("builtin:tiny-llama", "", 3, 64)
    assert len(Path(task.suite).read_bytes().splitlines()) == 60
    assert command.env["HF_HUB_OFFLINE"] == "1"
    assert not [name for name in command.env if "SECRET" in name or "FERNET" in name or "DATABASE" in name]


SOUND = {"score": 0.5, "n": 2, "metrics": {"exact_match": 0.5}, "chat_template": True, "truncated": 0}


@pytest.mark.parametrize(
    ("code", "left", "complete", "retryable", "told"),
    [
        (0, SOUND, True, False, ""),
        (0, {**SOUND, "score": float("nan")}, False, True, "no result"),
        (0, {**SOUND, "n": 0}, False, True, "no result"),
        (0, {**SOUND, "metrics": {"exact_match": "high"}}, False, True, "no result"),
        (0, [1], False, True, "no result"),
        (0, None, False, True, "no result"),
        (UNUSABLE, {"error": "Line 3 of the suite: not JSON."}, False, False, "Line 3 of the suite"),
        (1, None, False, True, "code 1. ValueError: it broke"),
    ],
)
def test_the_end_is_judged_by_what_was_left(
    installed: Hands, code: int, left: Any, complete: bool, retryable: bool, told: str
) -> None:
    stage, attempt = begun(installed)
    transport = for_host(installed.host)
    runner().prepare(stage, stage.params, attempt, transport)
    folder = run_folder(attempt)
    Path(folder.output_log).write_text("Traceback\nValueError: it broke\n")
    Path(folder.path, WORK).mkdir()
    if left is not None:
        Path(folder.result).write_text(json.dumps(left))
    verdict = runner().judge(stage, attempt, {"code": code}, transport)
    assert (verdict.complete, verdict.retryable) == (complete, retryable)
    assert told in verdict.reason
    assert not Path(folder.path, WORK).exists()
    if complete:
        assert verdict.result == {**SOUND, "suite": f"{SUITE}@1", "model": "builtin:tiny-llama"}


def test_a_kill_is_tried_again_and_says_what_it_usually_means(installed: Hands) -> None:
    stage, attempt = begun(installed)
    verdict = runner().judge(stage, attempt, {"signal": 9}, for_host(installed.host))
    assert verdict.retryable
    assert "memory" in verdict.reason


def test_a_result_in_a_few_words() -> None:
    assert summary_of("run_evaluation", {"score": 0.9333, "n": 60}) == "score 0.93 · 60 samples"
    assert summary_of("run_evaluation", {"score": 1, "n": 1}) == "score 1.00 · 1 sample"
    assert summary_of("run_evaluation", {}) == summary_of("noop", {"score": 1}) == summary_of("gone", {"n": 1}) == ""


def test_an_environment_without_what_it_needs_is_told_of(installed: Hands) -> None:
    """The real program under the runner, by the platform's own Python, which has no torch."""
    asked = StageSpec("eval", "run_evaluation", {"suite": SUITE, "model": "builtin:tiny-llama"})
    pipeline = create_pipeline(user=builders.person(), spec=PipelineSpec("p", [asked]), start=True)
    stage = Stage.objects.get(pipeline=pipeline)
    installed.launch(stage)
    assert installed.until(stage) == "failed"
    assert "ModuleNotFoundError: No module named" in stage.error_message


def test_every_kind_says_what_came_of_it_in_a_few_words() -> None:
    assert summary_of("preprocess_dataset", {"rows_in": 400, "rows_out": 384}) == "384 of 400 rows"
    assert summary_of("train_model", {"final_step": 48, "metrics": {"train/loss": 0.44921}}) == "step 48 · loss 0.449"
    assert summary_of("train_model", {"final_step": 48, "metrics": {"train/loss": "NaN"}}) == "step 48"
    freed = {"removed": [{}, {}], "bytes_freed": 3 * 1024**2, "dry_run": False}
    assert summary_of("cleanup_checkpoints", freed).replace("\xa0", " ") == "2 removed · 3.0 MB"
    assert summary_of("cleanup_checkpoints", {**freed, "dry_run": True}).startswith("2 would go")
    assert summary_of("cleanup_checkpoints", {"removed": []}) == "nothing to remove"
