"""The three kinds one after the other, with a real training between."""

import os
from pathlib import Path

import pytest

from datasets.models import DatasetVersion
from environments.models import Host
from pipelines.folders import run_folder
from pipelines.models import Job, Stage
from pipelines.services import builtin
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from platform_runtime.checkpoints import survey
from tests.faults.training_platform import PYTHON

from . import builders
from .conftest import Hands

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.training, pytest.mark.timeout(400)]


@pytest.mark.skipif(
    not Path(PYTHON).exists() and not os.environ.get("CI"), reason="environments/setup_local_env.sh training"
)
def test_a_training_takes_the_version_that_was_prepared_and_is_cleaned_up_after(hands: Hands) -> None:
    builtin.install()
    Host.objects.filter(pk=hands.host.pk).update(python=PYTHON)
    spec = PipelineSpec(
        "prepared",
        [
            StageSpec(
                "prep",
                "preprocess_dataset",
                {"dataset": "arithmetic", "output": "sums", "validation_fraction": 0.1},
            ),
            StageSpec(
                "train",
                "train_model",
                {"recipe": "tiny-sft", "dataset": "{{ stages.prep.result.dataset_version }}"},
                ("prep",),
            ),
            StageSpec(
                "clean",
                "cleanup_checkpoints",
                {"keep_last": 1, "keep_best": 1, "metric": "train/loss"},
                ("train",),
            ),
        ],
    )
    pipeline = create_pipeline(user=builders.person(), spec=spec, start=True)
    prep, train, clean = (Stage.objects.get(pipeline=pipeline, name=name) for name in ("prep", "train", "clean"))

    hands.launch(prep)
    assert hands.until(prep) == "completed", prep.error_message
    hands.launch(train)
    assert hands.until(train, timeout_s=300) == "completed", train.error_message
    before = {one["step"] for one in Job.objects.get(stage=train).checkpoints}
    hands.launch(clean)
    assert hands.until(clean) == "completed", clean.error_message

    assert Job.objects.get(stage=train).dataset_version == DatasetVersion.objects.get(dataset__slug="sums")
    assert clean.result is not None
    kept = {one["step"] for one in clean.result["kept"]}
    assert max(before) in kept
    assert len(before) > len(kept) <= 2
    assert {one["step"] for one in clean.result["removed"]} == before - kept
    assert {one["step"] for one in Job.objects.get(stage=train).checkpoints} == kept
    left = survey(run_folder(hands.attempt(train)).checkpoints)
    assert (left.step, left.ok) == (max(before), True)
    pipeline.refresh_from_db()
    assert pipeline.status == "completed"
