"""A run is called good or bad where its end does not say how it went: back-tests and learnt thresholds go by it."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pipelines.models import Backtest, Job
from pipelines.services.backtests import Asked, create, work
from pipelines.services.control import retry_stage
from pipelines.services.judging import judge
from pipelines.services.learn import healthy_runs, learnt_for
from pipelines.states import PipelineStatus, StageStatus
from platform_site.common.errors import Conflict, Invalid
from platform_site.common.models import AuditEvent
from tests.people import alice, program

from . import builders
from .past_runs import learnt_runs, past_run

pytestmark = pytest.mark.django_db

KL = "actor/kl_loss"
EXPLODES = {KL: [*[0.1] * 10, 3.0, *[6.0] * 9]}
HEALTHY = {KL: [0.1] * 20}


def tried() -> Backtest:
    made = create(Asked(), None, by_worker=False)
    assert work(made.pk)
    return Backtest.objects.get(pk=made.pk)


def scores(made: Backtest) -> dict[str, Any]:
    result = Backtest.objects.get(pk=made.pk).result
    assert result is not None
    return {name: result["total"][name] for name in ("caught", "broken", "false_alarms", "healthy")}


@pytest.mark.parametrize("status", [StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED])
@pytest.mark.parametrize("columns", [EXPLODES, HEALTHY])
def test_a_back_test_is_counted_anew_as_if_it_had_been_read_after_the_word(
    tmp_path: Path, status: StageStatus, columns: dict[str, list[float]]
) -> None:
    job = past_run(tmp_path, status, columns, gpus=2)
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    before = tried()
    for word in ("bad", "good", ""):
        judge(job, word, builders.person())
        fresh, counted = tried(), Backtest.objects.get(pk=before.pk)
        assert counted.result == fresh.result, word
        assert counted.completed_at == before.completed_at
        for run in counted.runs.all():
            anew = fresh.runs.get(job_id=run.job_id)
            assert (run.ended, run.found) == (anew.ended, anew.found), word
    assert counted.result == before.result, "taken back, nothing is left of it"


def test_what_was_called_bad_had_to_be_caught_and_what_was_called_good_left_alone(tmp_path: Path) -> None:
    completed = past_run(tmp_path, StageStatus.COMPLETED, EXPLODES)
    cancelled = past_run(tmp_path, StageStatus.CANCELLED, EXPLODES)
    made = tried()
    assert scores(made) == {"caught": 1, "broken": 1, "false_alarms": 1, "healthy": 1}
    judge(completed, "bad", builders.person())
    assert scores(made) == {"caught": 2, "broken": 2, "false_alarms": 0, "healthy": 0}
    judge(cancelled, "good", builders.person())
    assert scores(made) == {"caught": 1, "broken": 1, "false_alarms": 1, "healthy": 1}


def test_a_word_that_comes_while_runs_are_read_counts(tmp_path: Path) -> None:
    jobs = [past_run(tmp_path, StageStatus.COMPLETED, EXPLODES, days_ago=n) for n in (1, 2)]
    made = create(Asked(), None, by_worker=False)
    assert not work(made.pk, slice_s=0)
    for job in jobs:
        judge(job, "bad", builders.person())
    assert Backtest.objects.get(pk=made.pk).completed_at is None
    assert work(made.pk)
    assert scores(made) == {"caught": 2, "broken": 2, "false_alarms": 0, "healthy": 0}


def test_thresholds_are_learnt_from_good_runs_and_never_from_bad_ones(tmp_path: Path) -> None:
    jobs = learnt_runs(tmp_path, 5, {KL: [0.3] * 20})
    failed = past_run(tmp_path, StageStatus.FAILED, HEALTHY)
    faulty = past_run(tmp_path, StageStatus.COMPLETED, EXPLODES)
    wanting = past_run(tmp_path, StageStatus.QUEUED, {KL: [0.1]}, days_ago=0)
    assert learnt_for(wanting)[0] == 5
    judge(jobs[0], "bad", builders.person())
    runs, found = learnt_for(wanting)
    assert (runs, found) == (4, {})
    assert not healthy_runs().filter(pk__in=[faulty.pk, failed.pk]).exists()
    judge(faulty, "good", builders.person())
    judge(failed, "good", builders.person())
    assert healthy_runs().filter(pk=faulty.pk).exists(), "whatever was found in it"
    assert not healthy_runs().filter(pk=failed.pk).exists(), "it is not whole"


def test_who_said_what_is_kept_once(tmp_path: Path) -> None:
    job = past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    for _ in range(2):
        judge(job, "bad", builders.person())
    (event,) = AuditEvent.objects.filter(action="job.judge")
    assert (event.actor_name, event.object_id, event.details) == ("bob", str(job.pk), {"judged": "bad"})


def test_what_goes_on_or_logged_nothing_is_not_judged(tmp_path: Path) -> None:
    running = past_run(tmp_path, StageStatus.RUNNING, HEALTHY)
    silent = past_run(tmp_path, StageStatus.FAILED)
    for job in (running, silent):
        with pytest.raises(Conflict, match="once it has ended"):
            judge(job, "good", builders.person())
    with pytest.raises(Invalid, match="good or bad"):
        judge(past_run(tmp_path, StageStatus.FAILED, HEALTHY), "so-so", builders.person())
    assert not Job.objects.exclude(judged="").exists()


def test_a_retry_takes_the_word_back(tmp_path: Path) -> None:
    job = past_run(tmp_path, StageStatus.FAILED, HEALTHY)
    judge(job, "bad", builders.person())
    job.stage.pipeline.status = PipelineStatus.FAILED
    job.stage.pipeline.save(update_fields=["status"])
    retry_stage(job.stage, user=builders.person())
    assert Job.objects.get(pk=job.pk).judged == ""


def test_it_costs_the_same_however_many_runs_a_back_test_has(tmp_path: Path) -> None:
    counts, bob = [], builders.person()
    for _ in range(2):
        job = past_run(tmp_path, StageStatus.COMPLETED, EXPLODES)
        made = tried()
        with CaptureQueriesContext(connection) as seen:
            judge(job, "bad", bob)
        counts.append(len(seen))
        made.delete()
    assert counts[0] == counts[1]


def test_the_api_takes_it_from_operators(tmp_path: Path) -> None:
    job = past_run(tmp_path, StageStatus.COMPLETED, EXPLODES)
    where = f"/api/v1/jobs/{job.pk}/judge/"
    client = program(builders.person(), "operate")
    for word in ("good", "good", "bad", ""):
        answer = client.post(where, {"judged": word}, format="json")
        assert (answer.status_code, answer.json()["judged"]) == (200, word)
    for body in ({}, {"judged": "so-so"}, {"judged": None}, {"judged": "bad", "why": "x"}):
        assert client.post(where, body, format="json").status_code == 400, body
    assert program(alice(), "read").post(where, {"judged": "bad"}, format="json").status_code == 403
    running = past_run(tmp_path, StageStatus.RUNNING, HEALTHY)
    assert client.post(f"/api/v1/jobs/{running.pk}/judge/", {"judged": "bad"}, format="json").status_code == 409
