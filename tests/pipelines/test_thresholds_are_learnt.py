"""Healthy runs of the same algorithm and base model set the thresholds of the next one, from when it begins."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from environments.models import Host
from environments.transports import for_host
from monitoring.models import Finding, MetricRow, Stream
from monitoring.thresholds import limits_for, source_of
from pipelines.kinds.train_model import TrainModel
from pipelines.models import Job, Stage
from pipelines.services import builtin, dispatch
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.services.learn import keep_learnt, learn_from, learnt_for, send_unread
from pipelines.states import StageStatus
from platform_runtime.contract import ENV_KL_THRESHOLD

from . import builders
from .conftest import Hands
from .past_runs import learnt_runs, past_run

pytestmark = pytest.mark.django_db(transaction=True)

KL = "actor/kl_loss"
STEADY = {KL: [0.3] * 20}


@pytest.fixture
def next_run(tmp_path: Path) -> Job:
    return past_run(tmp_path / "next", StageStatus.QUEUED, {KL: [0.1]}, days_ago=0)


def threshold(job: Job) -> float:
    keep_learnt(job)
    return limits_for(Stream.objects.get(pk=job.pk))["kl_explosion"]["threshold"]


def test_five_healthy_runs_set_the_threshold_of_the_next(tmp_path: Path, next_run: Job) -> None:
    learnt_runs(tmp_path, 5, STEADY)
    assert threshold(next_run) == pytest.approx(0.42)
    assert next_run.stream.learnt["runs"] == 5
    assert next_run.stream.learnt["rules"]["kl_explosion"] == {"runs": 5, "values": {"threshold": 0.42}}


def test_four_are_too_few_and_that_is_kept(tmp_path: Path, next_run: Job) -> None:
    learnt_runs(tmp_path, 4, STEADY)
    assert threshold(next_run) == 1.0
    assert next_run.stream.learnt == {"runs": 4, "rules": {}}


def test_runs_of_another_model_or_algorithm_or_that_were_not_well_teach_nothing(tmp_path: Path, next_run: Job) -> None:
    learnt_runs(tmp_path, 2, STEADY, base_model="another")
    learnt_runs(tmp_path, 2, {"train/loss": [1.0] * 20}, algorithm="sft")
    learnt_runs(tmp_path, 1, {KL: [0.3] * 19 + [2.5]})
    learnt_runs(tmp_path, 1, STEADY, status=StageStatus.FAILED)
    (flagged,) = learnt_runs(tmp_path, 1, STEADY)
    Stream.objects.filter(pk=flagged.pk).update(has_anomaly=True)
    assert learnt_for(next_run) == (0, {})


def test_a_run_that_somebody_answered_teaches_nothing(tmp_path: Path, next_run: Job) -> None:
    learnt_runs(tmp_path, 5, {KL: [1.2] * 20})
    assert learnt_for(next_run)[0] == 5
    Job.objects.filter(pk=next_run.pk).update(incident=Finding.objects.filter(rule="kl_explosion")[0])
    assert learnt_for(next_run)[0] == 4


def test_a_training_is_started_with_what_was_learnt_and_its_next_attempt_as_well(tmp_path: Path, hands: Hands) -> None:
    builtin.install()
    Host.objects.update(python=sys.executable)
    learnt_runs(tmp_path, 5, STEADY, base_model="builtin:tiny-llama")
    stages = [StageSpec("train", "train_model", {"recipe": "tiny-grpo"})]
    pipeline = create_pipeline(user=builders.person(), spec=PipelineSpec("p", stages), start=True)
    stage = Stage.objects.get(pipeline=pipeline)
    dispatch.dispatch()
    for _attempt in range(2):
        stage.refresh_from_db()
        command = TrainModel().prepare(stage, stage.params, hands.attempt(stage), for_host(hands.host))
        assert float(command.env[ENV_KL_THRESHOLD]) == pytest.approx(0.42)
        assert Stream.objects.get(pk=stage.pk).learnt["runs"] == 5
        learnt_runs(tmp_path, 5, {KL: [0.8] * 20}, base_model="builtin:tiny-llama")


def test_what_is_learnt_later_changes_nothing_of_a_run_that_has_begun(tmp_path: Path, next_run: Job) -> None:
    learnt_runs(tmp_path, 5, STEADY)
    before = threshold(next_run)
    learnt_runs(tmp_path, 5, {KL: [0.8] * 20})
    assert threshold(next_run) == before


def test_what_settings_say_counts_more(tmp_path: Path, next_run: Job, settings: Settings) -> None:
    learnt_runs(tmp_path, 5, STEADY)
    settings.KL_THRESHOLD = 0.7
    assert threshold(next_run) == 0.7


def test_it_can_be_switched_off(tmp_path: Path, next_run: Job, settings: Settings) -> None:
    learnt_runs(tmp_path, 5, STEADY)
    settings.LEARN_THRESHOLDS = False
    assert threshold(next_run) == 1.0
    assert source_of("kl_explosion", next_run.stream).text == "The threshold is the rule's own."


def test_each_healthy_run_is_read_once_after_it_ended(tmp_path: Path, sent: Callable[[], list[str]]) -> None:
    healthy = past_run(tmp_path, StageStatus.COMPLETED, STEADY)
    past_run(tmp_path, StageStatus.FAILED, STEADY)
    past_run(tmp_path, StageStatus.RUNNING, STEADY)
    send_unread()
    assert sent() == [str(healthy.pk)]
    learn_from(healthy.pk)
    assert Stream.objects.get(pk=healthy.pk).reach == {"kl_explosion": pytest.approx(0.3)}
    send_unread()
    assert sent() == [str(healthy.pk)]


def test_a_run_whose_figures_cannot_be_read_is_not_read_again(tmp_path: Path, sent: Callable[[], list[str]]) -> None:
    damaged = past_run(tmp_path, StageStatus.COMPLETED, STEADY)
    MetricRow.objects.filter(segment__stream_id=damaged.pk).update(values=b"damaged")
    learn_from(damaged.pk)
    assert Stream.objects.get(pk=damaged.pk).reach == {}
    send_unread()
    assert sent() == []


def test_a_run_with_a_figure_beyond_all_numbers_is_not_read_again(
    tmp_path: Path, sent: Callable[[], list[str]]
) -> None:
    losses = {"train/loss": [1e-310] * 100 + [1.0] * 100}
    endless = past_run(tmp_path, StageStatus.COMPLETED, losses, algorithm="sft")
    learn_from(endless.pk)
    found = Stream.objects.get(pk=endless.pk).reach
    assert found is not None
    assert all(math.isfinite(figure) for figure in found.values())
    send_unread()
    assert sent() == []
