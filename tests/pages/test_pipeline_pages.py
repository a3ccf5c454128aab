"""The page of a pipeline, and of its tasks: what can be done in each status, who may do it."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from pipelines.models import Attempt, Pipeline, Stage
from pipelines.states import PipelineStatus, StageStatus
from tests.browser import world
from tests.browser.world import noop

from .looks import text

pytestmark = pytest.mark.django_db


OFFERED = {
    "pending": "start",
    "running": "pause",
    "paused": "resume",
    "failed": "retry",
    "cancelled": "retry",
    "completed": "",
}


@pytest.mark.parametrize("status", list(PipelineStatus))
def test_a_pipeline_in_any_status_has_a_page_with_what_can_be_done(
    alice: Client, vera: Client, tmp_path: Path, status: str
) -> None:
    made = world.pipeline("Any", noop("a"), noop("b", "a"), root=tmp_path, start=False, work=False)
    Pipeline.objects.filter(pk=made.pk).update(status=status)
    for page in (f"/pipelines/{made.pk}/", "/pipelines/"):
        html = text(alice, page)
        assert f'data-shape="{status}"' in html
        offered = {name for name in ("start", "pause", "resume", "retry") if f"/pipelines/{made.pk}/{name}/" in html}
        assert offered == ({OFFERED[status]} - {""})
        seen = text(vera, page)
        assert "formaction" not in seen
        assert 'dialog id="delete-dialog"' not in seen


@pytest.mark.parametrize("status", list(StageStatus))
def test_a_stage_in_any_status_stands_in_the_graph_the_table_and_the_facts(
    alice: Client, tmp_path: Path, status: str
) -> None:
    made = world.pipeline("Any", noop("a"), noop("b", "a"), root=tmp_path, work=False)
    stage = Stage.objects.get(pipeline=made, name="b")
    Stage.objects.filter(pk=stage.pk).update(status=status)
    html = text(alice, f"/pipelines/{made.pk}/?stage=b")
    assert f'<svg id="node-{stage.pk}" class="node" data-shape="{status}"' in html
    assert f'id="stage-row-{stage.pk}"' in html
    assert ("/stages/b/retry/" in html) is (status in ("failed", "cancelled"))
    assert ("/stages/b/cancel/" in html) is (status in ("pending", "queued", "starting", "running"))


def test_a_failed_pipeline_tells_why_and_shows_the_stage_that_failed(alice: Client, broken: Pipeline) -> None:
    html = text(alice, f"/pipelines/{broken.pk}/")
    assert "Why it failed" in html
    assert "Stage second failed" in html
    assert alice.get(f"/pipelines/{broken.pk}/").context["chosen"].name == "second"
    assert alice.get(f"/pipelines/{broken.pk}/?stage=first").context["chosen"].name == "first"


def test_a_result_is_shown_without_what_is_empty_and_without_the_log(alice: Client, tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"metrics": {}, "checkpoints": [], "ray_job_id": None, "logs_tail": "step 1\nKilled"}
    made = world.pipeline("Ends", noop("a", result={**nothing, "final_step": 0, "mode": "process"}), root=tmp_path)
    page = f"/pipelines/{made.pk}/?stage=a"
    assert '<pre class="values" tabindex="0">final_step = 0\nmode = process</pre>' in text(alice, page)
    told = alice.get(f"/api/v1/pipelines/{made.pk}/status/").json()
    assert [stage["result"] for stage in told["stages"]] == [{**nothing, "final_step": 0, "mode": "process"}]
    Stage.objects.filter(pipeline=made).update(params={}, result=nothing)
    assert '<pre class="values"' not in text(alice, page)


def test_start_pause_resume_and_cancel_by_the_pages(alice: Client, tmp_path: Path) -> None:
    made = world.pipeline("Mine", noop("a"), root=tmp_path, start=False, work=False)
    for action, status in (("start", "running"), ("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = alice.post(f"/pipelines/{made.pk}/{action}/", {"next": "/pipelines/?status=active"})
        assert answer["Location"] == "/pipelines/?status=active"
        made.refresh_from_db()
        assert made.status == status
    html = alice.post(f"/pipelines/{made.pk}/pause/", {"next": "https://elsewhere.example/"}, follow=True)
    assert "Only a running pipeline can be paused" in html.content.decode()


def test_a_failed_stage_is_retried_with_other_parameters(alice: Client, broken: Pipeline) -> None:
    address = f"/pipelines/{broken.pk}/stages/second/retry/"
    assert "stages.first.result.missing" in text(alice, address)
    answer = alice.post(address, {"params": "result"})
    assert answer.status_code == 422
    assert "Line 1" in answer.content.decode()
    answer = alice.post(address, {"params": "nonsense = 1"})
    assert answer.status_code == 422
    assert "nonsense" in answer.content.decode()
    answer = alice.post(address, {"params": "result.rows = 4"})
    assert answer["Location"] == f"/pipelines/{broken.pk}/?stage=second"
    world.do_work()
    broken.refresh_from_db()
    assert broken.status == "completed"
    assert Stage.objects.get(pipeline=broken, name="first").attempts.count() == 1


def test_deleting_asks_first_and_refuses_what_runs(alice: Client, broken: Pipeline, tmp_path: Path) -> None:
    runs = world.pipeline("Runs", noop("a"), root=tmp_path, work=False)
    assert "cannot be deleted" in alice.post(f"/pipelines/{runs.pk}/delete/", follow=True).content.decode()
    assert "cannot be undone" in text(alice, f"/pipelines/{broken.pk}/delete/")
    assert alice.post(f"/pipelines/{broken.pk}/delete/")["Location"] == "/pipelines/"
    assert [pipeline.name for pipeline in Pipeline.objects.all()] == ["Runs"]


def test_what_people_typed_is_escaped(alice: Client, tmp_path: Path) -> None:
    nasty = '<img src=x onerror="x">'
    made = world.pipeline(nasty, noop("a", result={"k": nasty}), root=tmp_path, description=nasty)
    Pipeline.objects.filter(pk=made.pk).update(error_message=nasty)
    Stage.objects.update(error_message=nasty)
    Attempt.objects.update(reason=nasty, worker=nasty)
    task = Attempt.objects.get()
    for page in (
        "/pipelines/",
        f"/pipelines/{made.pk}/",
        f"/pipelines/create/?from={made.pk}",
        "/tasks/",
        f"/tasks/{task.pk}/",
    ):
        assert nasty not in text(alice, page)


def test_a_task_is_cancelled_and_retried(alice: Client, vera: Client, broken: Pipeline, tmp_path: Path) -> None:
    failed = Attempt.objects.get(stage__pipeline=broken, stage__name="second")
    assert f"/tasks/{failed.pk}/retry/" in text(alice, f"/tasks/{failed.pk}/")
    assert f"/tasks/{failed.pk}/retry/" not in text(vera, f"/tasks/{failed.pk}/")
    again = Attempt.objects.exclude(pk=failed.pk)
    answer = alice.post(f"/tasks/{failed.pk}/retry/")
    assert answer["Location"] == f"/tasks/{again.get(stage=failed.stage).pk}/"
    assert f"/tasks/{failed.pk}/retry/" not in text(alice, f"/tasks/{failed.pk}/"), "only the latest can be retried"
    waiting = again.get(stage=failed.stage)
    assert "Waiting" in text(alice, f"/tasks/{waiting.pk}/")
    assert text(alice, f"/tasks/{waiting.pk}/cancel/")
    alice.post(f"/tasks/{waiting.pk}/cancel/")
    waiting.refresh_from_db()
    assert waiting.outcome == "cancelled"
    assert "already ended" in alice.post(f"/tasks/{waiting.pk}/cancel/", follow=True).content.decode()


def test_tasks_stand_below_four_numbers_queues_and_workers(alice: Client, broken: Pipeline) -> None:
    html = text(alice, "/tasks/")
    assert (
        html.index("Failed today")
        < html.index("Queues by priority")
        < html.index("No worker answers")
        < html.index("All tasks")
    )
    assert html.index(">training<") < html.index(">evaluation<") < html.index(">maintenance<")
