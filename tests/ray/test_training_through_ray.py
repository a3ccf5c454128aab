"""Real trainings as jobs of a real Ray cluster: SFT in the job itself, GRPO with the cluster's own workers."""

import json
from pathlib import Path

import pytest

from datasets.models import DatasetCopy
from environments.models import Host
from pipelines.models import Job, Stage
from pipelines.services.builtin import install
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.services.submit import submit_job
from tests.pipelines import builders
from tests.pipelines.conftest import Hands

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.training, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("recipe", ["tiny-sft", "tiny-grpo"])
def test_a_recipe_is_trained_on_the_cluster(cluster: Host, hands: Hands, recipe: str) -> None:
    install()
    builders.queues(slots=4)
    steps = {} if recipe == "tiny-sft" else {"trainer.total_training_steps": 3, "trainer.save_freq": 3}
    job = submit_job(user=builders.person(), recipe=recipe, host=cluster.name, overrides=steps)
    hands.launch(job.stage)
    log = Path(hands.attempt(job.stage).folder) / "output.log"
    status = hands.until(job.stage, timeout_s=1300)
    assert status == "completed", job.stage.error_message + log.read_text()[-3000:]
    job = Job.objects.select_related("stage", "stream").get(pk=job.pk)
    assert job.final_step == job.target_step
    assert job.checkpoints
    data = DatasetCopy.objects.get(host=cluster).path
    assert data.startswith(cluster.root)
    assert data in json.dumps(job.config)
    assert job.stage.result["mode"] == "ray"
    assert job.stage.result["ray_job_id"] == f"anneal-{job.pk}-attempt-1"


def test_what_the_cluster_trained_is_evaluated_on_it(cluster: Host, hands: Hands) -> None:
    install()
    builders.queues(slots=4)
    score = {"suite": "arithmetic-eval", "of": "train", "limit": 8, "host": cluster.name}
    spec = PipelineSpec(
        "on the cluster",
        [
            StageSpec("train", "train_model", {"recipe": "tiny-sft", "host": cluster.name}),
            StageSpec("score", "run_evaluation", score, ("train",)),
        ],
    )
    pipeline = create_pipeline(user=builders.person(), spec=spec, start=True)
    for name in ("train", "score"):
        stage = Stage.objects.get(pipeline=pipeline, name=name)
        hands.launch(stage)
        assert hands.until(stage, timeout_s=600) == "completed", stage.error_message
        assert hands.attempt(stage).host_id == cluster.pk
    assert stage.result is not None
    assert stage.result["n"] == 8
