"""A run that begins from a checkpoint of an earlier one: for real, and what is refused and protected."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from environments.models import Host
from monitoring.models import Stream
from pipelines.folders import attempt_path
from pipelines.models import Job, RecipeRevision, Stage
from pipelines.services import builtin, fork
from pipelines.services.delete import delete_pipeline
from pipelines.states import PipelineStatus, StageStatus
from platform_site.common.errors import Conflict, Invalid
from tests.faults.training_platform import PYTHON
from tests.people import bob, browser, program

from . import builders
from .conftest import Hands
from .test_cleaning_up_checkpoints import Trained, clean, steps

pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.mark.training
@pytest.mark.timeout(500)
@pytest.mark.skipif(
    not Path(PYTHON).exists() and not os.environ.get("CI"), reason="environments/setup_local_env.sh training"
)
def test_a_run_goes_on_from_a_checkpoint_of_another_with_another_rate(hands: Hands) -> None:
    builtin.install()
    Host.objects.filter(pk=hands.host.pk).update(python=PYTHON)
    client = program(bob(), "operate")
    first = ended(
        hands, client, "jobs/", recipe="tiny-sft", overrides={"trainer.total_training_steps": 8, "trainer.save_freq": 4}
    )
    assert [one["step"] for one in first["checkpoints"]] == [4, 8]
    assert (first["forked_from"], first["forks"]) == (None, [])

    here = {"job": first["uuid"], "step": 4}
    edited = {"trainer.total_training_steps": 12, "optim.lr": 0.0005}
    again = f"jobs/{first['uuid']}/rerun/"
    second = ended(hands, client, again, overrides=edited, from_checkpoint=here)
    assert second["forked_from"] == here
    assert (second["attempts"][0]["resumed_from_step"], second["final_step"], second["target_step"]) == (4, 12, 12)
    assert [one["step"] for one in second["checkpoints"]] == [8, 12]
    metrics = client.get(f"/api/v1/monitoring/{second['uuid']}/metrics/", {"names": "train/loss,train/lr"}).json()
    assert metrics["segments"][0]["resumed_from"] == 4
    assert [point[0] for point in metrics["series"]["train/loss"]] == list(range(5, 13))
    # What was learned is there, and the rate is the new one: the state of the old optimizer would have its own.
    earlier = client.get(f"/api/v1/monitoring/{first['uuid']}/metrics/", {"names": "train/loss"}).json()
    before = {step: value for step, value, *_rest in earlier["series"]["train/loss"]}
    assert metrics["series"]["train/loss"][0][1] < before[1]
    assert max(point[1] for point in metrics["series"]["train/lr"]) <= 0.0005
    assert client.get(f"/api/v1/jobs/{first['uuid']}/").json()["forks"] == [second["uuid"]]

    refused = client.post(f"/api/v1/{again}", {"from_checkpoint": {**here, "step": 8}}, format="json")
    assert refused.status_code == 422
    assert "ends at step 8" in refused.json()["error"]["fields"]["from_checkpoint"][0]


def ended(hands: Hands, client: Any, route: str, **asked: Any) -> dict[str, Any]:
    """The run that was asked for, completed."""
    answer = client.post(f"/api/v1/{route}", asked, format="json")
    assert answer.status_code == 201, answer.content
    stage = Stage.objects.get(job__id=answer.json()["uuid"])
    hands.launch(stage)
    assert hands.until(stage, timeout_s=300) == "completed", stage.error_message
    found: dict[str, Any] = client.get(f"/api/v1/jobs/{stage.pk}/").json()
    return found


@pytest.fixture
def trained(machine: Host) -> Trained:
    return Trained(machine, builders.pipeline(PipelineStatus.COMPLETED))


def job_of(trained: Trained, recipe: str = "tiny-sft", **overrides: Any) -> Job:
    """The run of a training with the checkpoints that its first attempt left."""
    revision = RecipeRevision.objects.get(recipe__slug=recipe)
    attempt = trained.stage.attempts.get()
    folder = f"{attempt_path(trained.host.root, trained.stage.pk, 1).rpartition('/')[0]}/checkpoints/attempt-1"
    return Job.objects.create(
        id=trained.stage.pk,
        stage=trained.stage,
        stream_id=trained.stage.pk,
        project=builders.project(),
        name="first",
        recipe_revision=revision,
        dataset_version=revision.dataset.versions.first() if revision.dataset else None,
        overrides=overrides,
        checkpoints=[{"step": step, "path": f"{folder}/global_step_{step}"} for step in trained.left(attempt)],
    )


def fork_of(job: Job, status: StageStatus) -> Job:
    """A run in that status which begins from step 3."""
    stage = builders.stage(status, of=builders.pipeline(PipelineStatus.RUNNING), name="fork")
    Stream.objects.create(id=stage.id, project=builders.project())
    return Job.objects.create(
        id=stage.pk, stage=stage, stream_id=stage.pk, project=job.project, name="second",
        recipe_revision=job.recipe_revision, dataset_version=job.dataset_version,
        forked_from=job, forked_step=3, forked_path=job.checkpoints[0]["path"],
    )  # fmt: skip


def test_a_clean_up_leaves_what_another_run_begins_from_until_it_has_ended(hands: Hands, trained: Trained) -> None:
    builtin.install()
    attempt = trained.attempt(1, {3: None, 6: None, 9: None})
    second = fork_of(job_of(trained), StageStatus.RUNNING)
    stage = clean(hands, trained, keep_last=1)
    assert stage.result is not None
    assert steps(stage.result["removed"]) == [6]
    assert trained.left(attempt) == [3, 9]
    Stage.objects.filter(pk=second.stage_id).update(status=StageStatus.COMPLETED)
    clean(hands, trained, "again", keep_last=1)
    assert trained.left(attempt) == [9]


def test_the_pages_offer_it_and_lead_from_one_run_to_the_other(hands: Hands, trained: Trained) -> None:
    builtin.install()
    Host.objects.update(python=sys.executable)
    trained.attempt(1, {3: None, 6: None})
    first = job_of(trained)
    second = fork_of(first, StageStatus.QUEUED)
    page = browser(bob())
    html = page.get(f"/jobs/{first.pk}/").content.decode()
    assert f"/jobs/{first.pk}/rerun/?step=3" in html
    assert f'href="/jobs/{second.pk}/"' in html
    assert f'href="/jobs/{first.pk}/"' in page.get(f"/jobs/{second.pk}/").content.decode()
    address = f"/jobs/{first.pk}/rerun/"
    assert 'name="step" value="6"' in page.get(f"{address}?step=6").content.decode()
    posted = {"recipe": "tiny-sft@1", "dataset": "arithmetic@1", "step": "6"}
    answer = page.post(address, {**posted, "key": "data.train_batch_size", "value": "32"})
    assert answer.status_code == 422
    assert "must stay as they were" in answer.content.decode()
    answer = page.post(address, posted)
    made = Job.objects.get(pk=answer.headers["Location"].strip("/").rpartition("/")[2])
    assert (made.forked_from, made.forked_step, made.stage.host) == (first, 6, trained.host)
    # Made once more, it begins where it began.
    again = page.post(f"/jobs/{made.pk}/rerun/", {**posted, "step": ""})
    once_more = Job.objects.get(pk=again.headers["Location"].strip("/").rpartition("/")[2])
    assert (once_more.forked_from, once_more.forked_step) == (first, 6)


def test_a_pipeline_is_not_deleted_while_another_run_begins_from_it(trained: Trained) -> None:
    builtin.install()
    trained.attempt(1, {3: None})
    second = fork_of(job_of(trained), StageStatus.QUEUED)
    user = bob()
    with pytest.raises(Conflict, match="second"):
        delete_pipeline(trained.stage.pipeline, user=user)
    Stage.objects.filter(pk=second.stage_id).update(status=StageStatus.FAILED)
    delete_pipeline(trained.stage.pipeline, user=user)
    second.refresh_from_db()
    assert (second.forked_from, second.forked_step) == (None, 3)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("soon", "run and a step"),
        ({"job": "x", "step": 3}, "no such run"),
        ({"step": 3}, "run and a step"),
        ({"job": "JOB", "step": True}, "whole number"),
        ({"job": "JOB", "step": 4}, "There are: 3"),
    ],
)
def test_a_checkpoint_that_there_is_not_is_refused(trained: Trained, given: Any, told: str) -> None:
    builtin.install()
    trained.attempt(1, {3: None})
    job = job_of(trained)
    if isinstance(given, dict) and given.get("job") == "JOB":
        given = {**given, "job": str(job.pk)}
    with pytest.raises(Invalid, match=told) as refused:
        fork.origin(bob(), given)
    assert list(refused.value.fields) == ["from_checkpoint"]


def test_a_run_that_still_writes_is_not_begun_from(trained: Trained) -> None:
    builtin.install()
    trained.attempt(1, {3: None})
    job = job_of(trained)
    Stage.objects.filter(pk=job.pk).update(status=StageStatus.RUNNING)
    with pytest.raises(Invalid, match="has not ended"):
        fork.origin(bob(), {"job": str(job.pk), "step": 3})


@pytest.mark.parametrize(
    ("recipe", "other", "overrides", "told"),
    [
        ("tiny-sft", "tiny-dpo", {}, "algorithm sft"),
        ("tiny-sft", "smollm2-sft", {}, "base_model"),
        ("tiny-sft", "tiny-sft", {"data.train_batch_size": 8}, "data.train_batch_size"),
        ("tiny-sft", "tiny-sft", {"model.lora_rank": 8}, "model.lora_rank"),
        ("tiny-sft", "tiny-sft", {"trainer.total_training_steps": 3}, "ends at step 3"),
        ("tiny-dpo", "tiny-dpo", {"data.max_length": 64}, "data.max_length"),
        ("tiny-grpo", "tiny-grpo", {"data.max_prompt_length": 64}, "data.max_prompt_length"),
        ("tiny-dpo-trl", "tiny-dpo-trl", {"learning_rate": 0.5}, "learning_rate"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_refused(
    trained: Trained, recipe: str, other: str, overrides: dict[str, Any], told: str
) -> None:
    builtin.install()
    trained.attempt(1, {3: None})
    job = job_of(trained, recipe)
    begun = fork.origin(bob(), {"job": str(job.pk), "step": 3})
    assert begun is not None
    revision = RecipeRevision.objects.get(recipe__slug=other)
    with pytest.raises(Invalid, match=told):
        fork.refuse_unfit(begun, revision, job.dataset_version, overrides, None)


@pytest.mark.parametrize(
    ("recipe", "overrides", "alone"),
    [
        ("tiny-sft", {"trainer.save_freq": 5}, {}),
        ("tiny-sft", {"optim.lr": 0.5}, {"checkpoint.load_contents": ["model"]}),
        ("tiny-dpo", {"optim.lr": 0.5}, {"checkpoint.load_contents": ["model"]}),
        (
            "tiny-grpo",
            {"actor_rollout_ref.actor.optim.lr": 0.5},
            {"actor_rollout_ref.actor.checkpoint.load_contents": ["model"]},
        ),
        ("tiny-dpo-trl", {"save_steps": 5}, {}),
    ],
)
def test_another_optimizer_takes_the_weights_alone(
    trained: Trained, recipe: str, overrides: dict[str, Any], alone: dict[str, Any]
) -> None:
    builtin.install()
    trained.attempt(1, {3: None})
    job = job_of(trained, recipe)
    begun = fork.origin(bob(), {"job": str(job.pk), "step": 3})
    assert begun is not None
    fork.refuse_unfit(begun, job.recipe_revision, job.dataset_version, overrides, None)
    second = fork_of(job, StageStatus.QUEUED)
    second.overrides = overrides
    assert fork.first_settings(second) == alone


def test_on_another_host_it_is_refused(trained: Trained) -> None:
    builtin.install()
    trained.attempt(1, {3: None})
    job = job_of(trained)
    begun = fork.origin(bob(), {"job": str(job.pk), "step": 3})
    assert begun is not None
    with pytest.raises(Invalid, match="on host local"):
        fork.refuse_unfit(begun, job.recipe_revision, job.dataset_version, {}, "elsewhere")
