"""What must never be is found, repaired from what there is, and told: in the answer, the log and the audit."""

import json
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from environments.models import Host
from monitoring.models import MetricRow, Segment, Stream
from pipelines.models import Attempt, Job, Pipeline, Recipe, RecipeRevision, Stage, Transition
from pipelines.services import integrity
from pipelines.services.integrity import check
from pipelines.states import Outcome, PipelineStatus, StageStatus
from pipelines.tasks import maintain
from platform_runtime import processes
from platform_site.common.models import AuditEvent, IdempotencyRecord

from . import builders
from .conftest import Hands
from .test_a_run_from_queue_to_end import carriers

pytestmark = pytest.mark.django_db(transaction=True)

S, P = StageStatus, PipelineStatus


def damage(rows: Any, **fields: Any) -> None:
    """What a hand in the database, or a restored backup, may do."""
    assert rows.update(**fields)


def refreshed(thing: Any) -> Any:
    thing.refresh_from_db()
    return thing


def completed(hands: Hands, code: str = "import time; time.sleep(0.3)") -> tuple[Stage, Attempt]:
    stage = hands.script(code)
    attempt = hands.launch(stage)
    assert hands.until(stage) == "completed"
    return stage, refreshed(attempt)


def running(hands: Hands) -> tuple[Stage, Attempt]:
    stage = hands.script("import time; time.sleep(60)")
    attempt = hands.launch(stage)
    hands.until(stage, S.RUNNING)
    return stage, refreshed(attempt)


def assert_told(said: list[str], *words: str) -> None:
    """One finding, with these words, and its row in the audit; and a second look finds nothing."""
    assert len(said) == 1, said
    assert all(word in said[0] for word in words), said
    event = AuditEvent.objects.get(actor_name="integrity")
    assert event.action == integrity.REPAIRED
    assert event.details["said"] in said[0]
    assert check() == []


def test_sound_books_are_left_as_they_are(hands: Hands) -> None:
    completed(hands)
    running(hands)
    builders.stage(S.PENDING, of=builders.pipeline(P.PENDING))

    def books() -> list[list[dict[str, Any]]]:
        return [list(model.objects.order_by("pk").values()) for model in (Pipeline, Stage, Attempt, Transition)]

    before = books()

    assert check() == []

    assert books() == before
    assert not AuditEvent.objects.filter(actor_name="integrity").exists()


def test_an_end_and_a_duration_come_from_the_runs_own_record(hands: Hands) -> None:
    stage, attempt = completed(hands)
    told = json.loads((Path(attempt.folder) / "exit.json").read_text())
    damage(Stage.objects.filter(pk=stage.pk), started_at=None, completed_at=None)
    damage(Attempt.objects.filter(pk=attempt.pk), started_at=None, completed_at=None)

    assert_told(check(), "without a start, an end or a duration")

    refreshed(stage)
    assert stage.started_at is not None
    assert stage.completed_at is not None
    assert (stage.completed_at - stage.started_at).total_seconds() == pytest.approx(told["elapsed_s"], abs=0.01)
    assert stage.started_at.timestamp() == pytest.approx(told["started_at"], abs=0.5)


def test_an_end_without_any_record_is_the_one_of_the_last_move(hands: Hands) -> None:
    stage, attempt = completed(hands)
    (Path(attempt.folder) / "exit.json").unlink()
    damage(Stage.objects.filter(pk=stage.pk), completed_at=None)
    damage(Attempt.objects.filter(pk=attempt.pk), completed_at=None)

    assert_told(check(), "without a start, an end or a duration")

    ended = Transition.objects.get(stage=stage, to_status="completed").at
    assert refreshed(stage).completed_at == ended


def test_no_stage_that_ended_lasted_nothing(hands: Hands) -> None:
    stage, attempt = completed(hands)
    (Path(attempt.folder) / "exit.json").unlink()
    damage(Attempt.objects.filter(pk=attempt.pk), completed_at=None, started_at=None)
    damage(Stage.objects.filter(pk=stage.pk), completed_at=stage.started_at)

    assert_told(check(), "without a start, an end or a duration")

    assert refreshed(stage).completed_at > stage.started_at


def test_an_open_attempt_of_an_ended_stage_is_closed(hands: Hands) -> None:
    stage, attempt = completed(hands)
    damage(Attempt.objects.filter(pk=attempt.pk), outcome="", completed_at=None)

    assert_told(check(), "was open though its stage is completed")

    refreshed(attempt)
    assert (attempt.outcome, attempt.completed_at) == (Outcome.SUCCEEDED, refreshed(stage).completed_at)


def test_a_queued_stage_without_an_attempt_gets_one_and_runs(hands: Hands) -> None:
    stage = hands.script("pass")
    Attempt.objects.filter(stage=stage).delete()

    assert_told(check(), "queued without an attempt")

    hands.launch(stage)
    assert hands.until(stage) == "completed"


def test_what_runs_without_an_attempt_is_ended_with_all_its_processes(hands: Hands) -> None:
    stage, attempt = running(hands)
    damage(Attempt.objects.filter(pk=attempt.pk), outcome=Outcome.LOST)

    said = check()

    assert len(said) == 2, said
    assert "had processes" in said[0]
    assert "without an attempt; failed" in said[1]
    assert carriers(attempt) == []
    assert hands.status(stage) == "failed"
    assert refreshed(stage.pipeline).status == "failed"
    assert check() == []


@pytest.mark.parametrize(
    ("status", "outcome", "becomes"),
    [
        (S.STARTING, Outcome.FAILED, S.FAILED),
        (S.RUNNING, Outcome.LOST, S.FAILED),
        (S.RUNNING, Outcome.SUCCEEDED, S.COMPLETED),
        (S.CANCELLING, Outcome.CANCELLED, S.CANCELLED),
    ],
)
def test_an_active_stage_whose_attempt_is_over_ends_as_that_did(
    machine: Host, status: StageStatus, outcome: Outcome, becomes: StageStatus
) -> None:
    stage = builders.stage(status, kind="noop", queue="default", started_at=timezone.now() - timedelta(minutes=1))
    damage(Attempt.objects.filter(stage=stage), outcome=outcome, completed_at=timezone.now())

    assert_told(check(), f"was {status} without an attempt; {becomes}")

    assert refreshed(stage).status == becomes
    assert refreshed(stage.pipeline).completed_at is not None


@pytest.mark.parametrize(
    ("status", "becomes"), [(S.STARTING, S.QUEUED), (S.RUNNING, S.QUEUED), (S.CANCELLING, S.CANCELLED)]
)
def test_an_active_stage_without_a_host_goes_back_to_its_queue(
    machine: Host, status: StageStatus, becomes: StageStatus
) -> None:
    stage = builders.stage(status, kind="script", params={"script": "pass"})

    assert_told(check(), "active without a host")

    assert refreshed(stage).status == becomes


def test_a_stage_that_waits_for_nothing_is_queued_or_skipped(machine: Host) -> None:
    pipeline = builders.pipeline()
    done = builders.stage(S.COMPLETED, of=pipeline, name="done", **times())
    failed = builders.stage(S.FAILED, of=pipeline, name="failed", **times())
    ready = builders.stage(S.PENDING, of=pipeline, name="ready", needs=(done,))
    never = builders.stage(S.PENDING, of=pipeline, name="never", needs=(done, failed))

    said = check()

    assert refreshed(ready).status == "queued"
    assert refreshed(never).status == "skipped"
    assert len(said) == 2, said
    assert check() == []


def times() -> dict[str, datetime]:
    now = timezone.now()
    return {"started_at": now - timedelta(minutes=1), "completed_at": now}


@pytest.mark.parametrize(
    ("was", "stages", "becomes"),
    [
        (P.RUNNING, S.COMPLETED, P.COMPLETED),
        (P.PAUSED, S.FAILED, P.FAILED),
        (P.RUNNING, S.CANCELLED, P.CANCELLED),
        (P.PENDING, S.CANCELLED, P.CANCELLED),
    ],
)
def test_a_pipeline_whose_stages_have_all_ended_ends(
    machine: Host, was: PipelineStatus, stages: StageStatus, becomes: PipelineStatus
) -> None:
    pipeline = builders.pipeline(was)
    builders.stage(stages, of=pipeline, **times())

    assert_told(check(), f"was {was} with all its stages ended; {becomes}")

    assert refreshed(pipeline).status == becomes
    assert pipeline.completed_at is not None


def test_a_process_of_a_run_that_is_over_is_ended_and_nobody_elses(hands: Hands) -> None:
    _stage, attempt = completed(hands)
    other_stage, other = running(hands)
    environment = {"ANNEAL_LAUNCH_TOKEN": attempt.launch_token}
    stranger_environment = {"ANNEAL_LAUNCH_TOKEN": uuid4().hex}
    with (
        subprocess.Popen(["/bin/sleep", "61"], env=environment, start_new_session=True) as orphan,
        subprocess.Popen(["/bin/sleep", "62"], env=stranger_environment) as stranger,
    ):
        try:
            hands.wait(lambda: processes.carries(orphan.pid, attempt.launch_token))
            assert_told(check(), str(orphan.pid), "though it is over; ended")
            assert orphan.wait(10) == -9
            assert stranger.poll() is None
            assert len(carriers(other)) == 1
            assert hands.status(other_stage) == "running"
        finally:
            orphan.kill()
            stranger.kill()


# --- training ---------------------------------------------------------------------------------------------


@pytest.fixture
def trained(hands: Hands) -> Callable[[], tuple[Stage, Path]]:
    """A training that completed with three steps in its file, and has its metrics."""

    def make() -> tuple[Stage, Path]:
        stage, attempt = completed(hands, "pass")
        project = stage.pipeline.project
        recipe = Recipe.objects.create(project=project, slug="a", name="a", algorithm="sft")
        revision = RecipeRevision.objects.create(recipe=recipe, number=1, base_model="m")
        stream = Stream.objects.create(id=stage.pk, project=project)
        Job.objects.create(id=stage.pk, stage=stage, stream=stream, project=project, name="a", recipe_revision=revision)
        path = Path(attempt.folder) / "metrics" / f"{stage.pk}_metrics.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(line(step) for step in (1, 2, 3)))
        Segment.objects.create(stream=stream, attempt=1, path=str(path))
        return stage, path

    return make


def line(step: int) -> str:
    return json.dumps({"v": 1, "step": step, "time": 1.0 + step, "metrics": {"train/loss": 1.0 / step}}) + "\n"


def test_metrics_that_nobody_read_are_read_once(trained: Callable[[], tuple[Stage, Path]]) -> None:
    stage, path = trained()

    assert_told(check(), "with 3 steps unread")

    assert list(MetricRow.objects.order_by("step").values_list("step", flat=True)) == [1, 2, 3]
    job = Job.objects.get(stage=stage)
    assert (job.final_step, job.final_metrics["train/loss"]) == (3, pytest.approx(1 / 3))
    with path.open("a") as file:
        file.write('{"v":1,"step":4')
    assert check() == [], "half a line is no line"


def test_a_training_that_ended_without_its_final_metrics_gets_them(
    trained: Callable[[], tuple[Stage, Path]],
) -> None:
    stage, path = trained()
    check()
    AuditEvent.objects.all().delete()
    damage(Job.objects.filter(stage=stage), final_step=None, final_metrics={})
    path.unlink()

    assert_told(check(), "without its final metrics", "step 3")

    assert Job.objects.get(stage=stage).final_metrics["train/loss"] == pytest.approx(1 / 3)
    assert refreshed(stage).result["final_step"] == 3


# --- how it is told ----------------------------------------------------------------------------------------


def test_what_is_past_its_deadline_is_told_once_and_not_guessed_at(hands: Hands) -> None:
    stage, attempt = running(hands)
    damage(Stage.objects.filter(pk=stage.pk), timeout_s=5)
    damage(Attempt.objects.filter(pk=attempt.pk), started_at=timezone.now() - timedelta(hours=1))
    damage(Host.objects, unreachable_since=timezone.now())

    for _pass in range(2):
        said = check()
        assert len(said) == 1
        assert "past its deadline; host local does not answer" in said[0]

    assert AuditEvent.objects.filter(action=integrity.FOUND).count() == 1
    assert hands.status(stage) == "running"


def test_reconcile_says_what_it_repaired(hands: Hands) -> None:
    stage, attempt = completed(hands)
    damage(Attempt.objects.filter(pk=attempt.pk), outcome="")
    out = StringIO()

    call_command("reconcile", stdout=out)

    assert f"attempt {attempt.pk}: was open though its stage is completed; closed" in out.getvalue()
    assert "1 changed" in out.getvalue()
    assert refreshed(stage).status == "completed"


def test_the_maintenance_tick_repairs_and_forgets_old_keys(hands: Hands) -> None:
    _stage, attempt = completed(hands)
    damage(Attempt.objects.filter(pk=attempt.pk), outcome="")
    old = IdempotencyRecord.objects.create(user=builders.person(), route="r", key="k", body_sha256="")
    damage(IdempotencyRecord.objects.filter(pk=old.pk), created_at=timezone.now() - timedelta(hours=25))

    maintain()

    assert refreshed(attempt).outcome == Outcome.SUCCEEDED
    assert not IdempotencyRecord.objects.exists()


def test_a_pass_is_bounded_and_the_next_goes_on(machine: Host) -> None:
    pipeline = builders.pipeline(P.COMPLETED, completed_at=timezone.now())
    for number in range(5):
        builders.stage(S.COMPLETED, of=pipeline, name=f"s{number}", **times())
    damage(Attempt.objects.all(), outcome="")

    assert [len(check(2)), len(check(2)), len(check(2)), len(check(2))] == [2, 2, 1, 0]


def test_ten_thousand_sound_stages_cost_a_few_queries(machine: Host) -> None:
    pipeline = builders.pipeline(P.COMPLETED, completed_at=timezone.now())
    Stage.objects.bulk_create(
        Stage(pipeline=pipeline, name=f"s{n}", kind="noop", queue="default", status=S.COMPLETED, **times())
        for n in range(10_000)
    )
    began = time.monotonic()
    with CaptureQueriesContext(connection) as queries:
        assert check() == []
    assert len(queries) < 40
    assert time.monotonic() - began < 10
