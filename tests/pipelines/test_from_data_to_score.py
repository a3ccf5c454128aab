"""The tiny template, as it is posted, for real: data made ready, a base model asked, trained, asked again, cleaned up
after. Then what an evaluation says of checkpoints that are gone or rotten."""

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from environments.models import Host
from pipelines.folders import run_folder
from pipelines.models import Attempt, Stage
from pipelines.pipeline_templates import TINY_SFT
from pipelines.recipes.builtin import ITEMS
from pipelines.selectors import stage_progress
from pipelines.services import builtin
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.states import StageStatus
from platform_runtime import checkpoints
from platform_runtime.contract import RunFolder
from platform_runtime.evaluate import SAMPLES, WORK
from tests.faults.training_platform import PYTHON

from . import builders
from .conftest import Hands

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.training, pytest.mark.timeout(600)]

RUN_S = 300
"""The longest any stage may take on a busy machine."""


@pytest.mark.skipif(
    not Path(PYTHON).exists() and not os.environ.get("CI"), reason="environments/setup_local_env.sh training"
)
def test_a_pipeline_from_data_to_score(hands: Hands) -> None:
    builtin.install()
    Host.objects.filter(pk=hands.host.pk).update(python=PYTHON)
    asked = {"suite": "arithmetic-eval", "of": "train", "limit": 4}
    stages = [replace(stage, max_retries=1) if stage.name == "evaluate" else stage for stage in TINY_SFT.stages]
    stages += [
        StageSpec("gone", "run_evaluation", {**asked, "step": 16}, ("clean-up",)),
        StageSpec("rotten", "run_evaluation", asked, ("clean-up",)),
    ]
    spec = PipelineSpec("from data to score", stages)
    pipeline = create_pipeline(user=builders.person(), spec=spec, start=True)
    stage = {one.name: one for one in Stage.objects.filter(pipeline=pipeline)}

    for name in ("preprocess", "baseline"):
        hands.launch(stage[name])
    for name in ("preprocess", "baseline"):
        assert hands.until(stage[name], timeout_s=RUN_S) == "completed", stage[name].error_message
    hands.launch(stage["train"])
    assert hands.until(stage["train"], timeout_s=RUN_S) == "completed", stage["train"].error_message
    _killed_and_tried_again(hands, stage["evaluate"])
    hands.launch(stage["clean-up"])
    assert hands.until(stage["clean-up"], timeout_s=RUN_S) == "completed", stage["clean-up"].error_message

    for name, about in (
        ("baseline", {"model": "builtin:tiny-llama"}),
        ("evaluate", {"of": "train", "attempt": 1, "step": 48}),
    ):
        result = stage[name].result
        assert result is not None
        assert {key: result[key] for key in ("suite", *about)} == {"suite": "arithmetic-eval@1", **about}
        assert 0 <= result["score"] <= 1
        assert (result["n"], result["truncated"], result["chat_template"]) == (ITEMS, 0, True)
        assert set(result["metrics"]) == {"exact_match", "exact_match_stderr"}
        samples = _samples(run_folder(hands.attempt(stage[name])))
        assert len(samples) == result["n"]
        assert sum(sample["correct"] for sample in samples) / len(samples) == pytest.approx(result["score"])
        progress = stage_progress(stage[name])
        assert (progress.fraction, progress.step, progress.unit) == (1.0, result["n"], "samples")
    learned = _samples(run_folder(hands.attempt(stage["evaluate"])))
    assert sum("####" in sample["response"] for sample in learned) > 0.9 * len(learned), "it answers as it was taught"
    assert not any("####" in one["response"] for one in _samples(run_folder(hands.attempt(stage["baseline"]))))
    assert list(Path(hands.host.root).glob(f"runs/*/attempt-*/{WORK}")) == []

    hands.launch(stage["gone"])
    assert hands.until(stage["gone"]) == "failed"
    assert "no checkpoint of step 16. There are: 48" in stage["gone"].error_message
    _rot(Path(run_folder(hands.attempt(stage["train"])).checkpoints, "global_step_48"))
    hands.launch(stage["rotten"])
    assert hands.until(stage["rotten"], timeout_s=RUN_S) == "failed"
    assert "the checkpoint cannot be loaded" in stage["rotten"].error_message


def _samples(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder.path, SAMPLES).read_text().splitlines()]


def _killed_and_tried_again(hands: Hands, stage: Stage) -> None:
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    attempt.refresh_from_db()
    psutil.Process(attempt.handle["child_pid"]).kill()
    assert hands.until(stage, StageStatus.QUEUED, StageStatus.FAILED, StageStatus.COMPLETED) == "queued"
    Stage.objects.filter(pk=stage.pk).update(not_before=None)
    hands.launch(stage)
    assert hands.until(stage, timeout_s=RUN_S) == "completed", stage.error_message
    first, second = Attempt.objects.filter(stage=stage).order_by("number")
    assert (first.outcome, second.outcome) == ("failed", "succeeded")
    assert "signal 9" in first.reason


def _rot(folder: Path) -> None:
    """What a look at the directory of the archive cannot see: its index of tensors is no pickle any more."""
    shard = next(folder.glob("model_world_size_1_rank_0.pt"))
    with zipfile.ZipFile(shard) as archive:
        index = next(member for member in archive.infolist() if member.filename.endswith("data.pkl"))
    with shard.open("r+b") as file:
        file.seek(index.header_offset + 64)
        file.write(b"\xff" * (index.file_size // 2))
    checkpoints.verify(str(folder))
