"""The whole path on an SSH host, with a real training: data sent, trained, followed, evaluated, cleaned up after."""

import os
from pathlib import Path

import pytest

from datasets.models import DatasetCopy
from environments.models import Host
from environments.services import hosts
from environments.transports import connection, for_host
from monitoring import selectors as monitoring
from monitoring.models import RolloutFile
from pipelines.models import Attempt, Job, Stage
from pipelines.services import builtin
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.services.logs import read_log
from pipelines.services.submit import submit_job
from pipelines.states import StageStatus
from tests.faults.training_platform import PYTHON
from tests.pipelines import builders
from tests.pipelines.conftest import Hands

from . import sshd
from .hosts import MakeHost

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.training,
    pytest.mark.timeout(500),
    pytest.mark.skipif(
        not Path(PYTHON).exists() and not os.environ.get("CI"), reason="environments/setup_local_env.sh training"
    ),
]


@pytest.fixture
def far(make_host: MakeHost, remote: sshd.Sshd) -> Host:
    """Its user may read what root may: the training environment of a test machine is often root's."""
    place = {"address": remote.address, "port": remote.port}
    return make_host(account=remote.account(as_root=True), python=PYTHON, root="", **place)


def test_a_training_on_an_ssh_host_from_its_check_to_the_score_of_its_model(far: Host) -> None:
    builtin.install()
    Host.objects.exclude(pk=far.pk).update(enabled=False)
    hosts.check(far)
    spec = PipelineSpec(
        "far away",
        [
            StageSpec("train", "train_model", {"recipe": "tiny-sft", "host": far.name}),
            StageSpec(
                "score",
                "run_evaluation",
                {"suite": "arithmetic-eval", "of": "train", "limit": 8, "host": far.name},
                ("train",),
            ),
            StageSpec("clean", "cleanup_checkpoints", {"keep_last": 1}, ("score",)),
        ],
    )
    pipeline = create_pipeline(user=builders.person(), spec=spec, start=True)
    train, score, clean = (Stage.objects.get(pipeline=pipeline, name=name) for name in ("train", "score", "clean"))
    hands = Hands(far)

    attempt = hands.launch(train)
    hands.until(train, StageStatus.RUNNING)
    hands.wait(lambda: (monitoring.last_step(train.id) or 0) > 2, timeout_s=200)
    # The platform dies and comes back: another process, with another connection, goes on where this one was.
    connection.forget(far.pk)
    assert hands.until(train, timeout_s=200) == "completed", train.error_message

    job = Job.objects.get(stage=train)
    assert job.final_step == job.target_step
    assert job.final_metrics["train/loss"] > 0
    assert {one["step"] for one in job.checkpoints} >= {job.target_step}
    assert attempt.folder.startswith(f"{far.root}/runs/")
    assert read_log(train, offset=-4096).text
    copy = DatasetCopy.objects.get(host=far, version=job.dataset_version)
    assert for_host(far).digest(copy.path) == copy.version.sha256
    assert Path(copy.path).is_relative_to(far.root)

    hands.launch(score)
    assert hands.until(score, timeout_s=200) == "completed", score.error_message
    assert score.result is not None
    assert score.result["n"] == 8
    hands.launch(clean)
    assert hands.until(clean) == "completed", clean.error_message
    assert [one["step"] for one in Job.objects.get(stage=train).checkpoints] == [job.target_step]
    assert not Attempt.objects.filter(outcome="").exists()


def test_grpo_answers_and_is_rewarded_there(far: Host) -> None:
    builtin.install()
    Host.objects.exclude(pk=far.pk).update(enabled=False)
    hosts.check(far)
    steps = {"trainer.total_training_steps": 3, "trainer.save_freq": 3}
    job = submit_job(user=builders.person(), recipe="tiny-grpo", host=far.name, overrides=steps)
    hands = Hands(far)
    attempt = hands.launch(job.stage)
    assert hands.until(job.stage, timeout_s=400) == "completed", job.stage.error_message
    job.refresh_from_db()
    assert job.final_step == 3
    assert job.checkpoints
    found = list(RolloutFile.objects.filter(segment__stream_id=job.pk).order_by("step"))
    assert [one.step for one in found] == [1, 2, 3]
    assert all(one.samples for one in found)
    hands.wait(lambda: attempt.launch_token not in for_host(far).bearers(), timeout_s=20)
    assert attempt.folder.startswith(f"{far.root}/runs/")
