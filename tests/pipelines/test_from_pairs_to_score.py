"""The tiny template of DPO, as it is posted, for real: from pairs to score."""

import os
from pathlib import Path

import pytest

from environments.models import Host
from pipelines.models import Stage
from pipelines.pipeline_templates import TINY_DPO
from pipelines.services import builtin
from pipelines.services.create import PipelineSpec, create_pipeline
from tests.faults.training_platform import PYTHON

from . import builders
from .conftest import Hands

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.training, pytest.mark.timeout(580)]


@pytest.mark.skipif(
    not Path(PYTHON).exists() and not os.environ.get("CI"), reason="environments/setup_local_env.sh training"
)
def test_pairs_become_a_score(hands: Hands) -> None:
    builtin.install()
    Host.objects.filter(pk=hands.host.pk).update(python=PYTHON)
    user = builders.person()
    pipeline = create_pipeline(user=user, spec=PipelineSpec("from pairs to score", TINY_DPO.stages), start=True)
    results = {}
    for one in TINY_DPO.stages:
        stage = Stage.objects.get(pipeline=pipeline, name=one.name)
        hands.launch(stage)
        assert hands.until(stage, timeout_s=500) == "completed", (one.name, stage.error_message)
        results[one.name] = stage.result or {}
    pipeline.refresh_from_db()
    assert pipeline.status == "completed"
    assert results["preprocess"]["rows_out"] > 0
    assert results["train"]["metrics"]["train/rewards/margins"] > 0
    assert results["train"]["final_step"] > 0
    score = results["evaluate"]
    assert (score["of"], score["step"]) == ("train", results["train"]["final_step"])
    assert 0 <= score["score"] <= 1
    assert [kept["step"] for kept in results["clean-up"]["kept"]] == [results["train"]["final_step"]]
