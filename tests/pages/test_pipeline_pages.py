"""The pages of pipelines and tasks: who sees what, what can be done in each status, what a page costs."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pipelines.kinds.registry import kind_of, names
from pipelines.live.render_pipelines import pipeline_parts
from pipelines.models import Attempt, Pipeline, Stage
from pipelines.pipeline_form import MOST_ROWS
from pipelines.services.builtin import install
from pipelines.services.create import MOST_STAGES
from pipelines.states import PipelineStatus, StageStatus
from platform_site import display
from platform_site.common.roles import Role
from tests.browser import world
from tests.browser.world import LOST_LOOK_UP, noop

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Client:
    client = Client()
    client.force_login(world.person("alice", Role.OPERATOR))
    return client


@pytest.fixture
def vera() -> Client:
    client = Client()
    client.force_login(world.person("vera", Role.VIEWER))
    return client


@pytest.fixture
def broken(tmp_path: Path) -> Pipeline:
    stages = (noop("first"), noop("second", "first", result=LOST_LOOK_UP), noop("third", "second"))
    return world.pipeline("Broken", *stages, root=tmp_path)


def text(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def queries(client: Client, page: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert client.get(page).status_code == 200
    return len(seen)


# --- Many stages --------------------------------------------------------------------------------------------


@pytest.fixture
def wide(tmp_path: Path) -> Pipeline:
    names = [f"s{n:03}" for n in range(118)]
    lanes = (noop(name, "first") for name in names)
    made = world.pipeline("Wide", noop("first"), *lanes, noop("last", *names), root=tmp_path, start=False)
    Stage.objects.filter(pipeline=made, name__in=["first", *names[:60]]).update(status="completed")
    Stage.objects.filter(pipeline=made, name__in=names[60:63]).update(status="failed")
    return made


def test_every_kind_of_stage_has_a_name_that_people_read() -> None:
    own = [name for name in names() if not type(kind_of(name)).__module__.startswith("tests")]
    assert "setup_host" in own
    assert [name for name in own if display.kind_label(name) == name] == []


def test_many_stages_are_few_nodes_with_counts_and_pages_of_rows(alice: Client, wide: Pipeline) -> None:
    html = text(alice, f"/pipelines/{wide.pk}/")
    assert html.count('class="node"') == 2
    assert "118 \N{MULTIPLICATION SIGN} No-op: 3 Failed, 55 Pending, 60 Completed" in html
    assert html.count("data-row") == 50
    assert "1–50 of 120" in html
    # Whoever waits for a hundred names some of them.
    assert "s003" in text(alice, f"/pipelines/{wide.pk}/?search=last")
    assert "s060" not in text(alice, f"/pipelines/{wide.pk}/?search=last&fold=nobody").split("stages-title")[1]


@pytest.mark.parametrize(
    ("query", "total", "first"),
    [
        ("?page=3", 120, "s099"), ("?page=999", 120, "s099"), ("?page=x", 120, "first"),
        ("?fold=s000", 118, "s000"), ("?fold=s001", 120, "first"), ("?fold=s000&state=failed", 3, "s060"),
        ("?state=COMPLETED", 61, "first"), ("?search=S11", 8, "s110"), ("?state=nonsense", 0, None),
    ],
)  # fmt: skip
def test_the_stages_of_a_large_pipeline_filter_by_the_address(
    alice: Client, wide: Pipeline, query: str, total: int, first: str | None
) -> None:
    shown = alice.get(f"/pipelines/{wide.pk}/{query}").context["list"]
    assert shown.page.paginator.count == total
    assert next((stage.name for stage in shown.stages), None) == first
    if not total:
        assert "No stage matches" in text(alice, f"/pipelines/{wide.pk}/{query}")


def test_a_link_to_a_stage_keeps_the_filters(alice: Client, wide: Pipeline) -> None:
    html = text(alice, f"/pipelines/{wide.pk}/?fold=s000&state=failed")
    assert f"/pipelines/{wide.pk}/?fold=s000&amp;state=failed&amp;stage=s061#stage" in html


def test_a_page_of_many_stages_costs_no_more_queries_and_bytes(alice: Client, tmp_path: Path) -> None:
    def size_and_queries(many: int) -> tuple[int, int]:
        names = [f"s{n:03}" for n in range(many - 2)]
        lanes = (noop(name, "first") for name in names)
        made = world.pipeline(f"P{many}", noop("first"), *lanes, noop("last", *names), root=tmp_path, start=False)
        page = f"/pipelines/{made.pk}/"
        return len(text(alice, page)), queries(alice, page)

    (size, number), (large, as_many) = size_and_queries(100), size_and_queries(MOST_STAGES)
    assert as_many == number
    assert large < size * 1.1


def test_what_is_pushed_of_many_stages_is_their_nodes_alone(wide: Pipeline) -> None:
    reader = ("en", True)
    stages = list(Stage.objects.filter(pipeline=wide))
    with CaptureQueriesContext(connection) as few:
        one = pipeline_parts(wide.pk, {reader}, changed={stages[-1].pk})[reader]
    with CaptureQueriesContext(connection) as many:
        all_of_them = pipeline_parts(wide.pk, {reader}, changed={stage.pk for stage in stages})[reader]
    assert len(few) == len(many)
    assert (one.count('id="node-'), one.count('id="fold-')) == (1, 0)
    assert (all_of_them.count('id="node-'), all_of_them.count('id="fold-')) == (2, 1)
    assert "stage-row" not in all_of_them
    # The rows are looked at again, by whoever shows some of them.
    assert "stages-changed" in one
    assert "stages-changed" not in pipeline_parts(wide.pk, {reader})[reader]


# --- Lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"One", "Two", "Three"}), ("?status=failed", {"Two"}), ("?status=FAILED", {"Two"}),
        ("?status=active", {"Three"}), ("?status=pending", set()), ("?search=tw", {"Two"}),
        ("?page=99", {"One", "Two", "Three"}),
    ],
)  # fmt: skip
def test_the_list_filters_by_its_address(alice: Client, tmp_path: Path, query: str, names: set[str]) -> None:
    world.pipeline("One", noop("a"), root=tmp_path)
    world.pipeline("Two", noop("first"), noop("b", "first", result=LOST_LOOK_UP), root=tmp_path)
    world.pipeline("Three", noop("a"), root=tmp_path, work=False)
    page = alice.get(f"/pipelines/{query}").context["page"]
    assert {pipeline.name for pipeline in page.object_list} == names


@pytest.mark.parametrize(
    ("page", "nothing", "no_match"),
    [("/pipelines/", "No pipelines yet", "No pipeline matches"), ("/tasks/", "No tasks yet", "No task matches")],
)
def test_nothing_yet_differs_from_no_match(
    alice: Client, tmp_path: Path, page: str, nothing: str, no_match: str
) -> None:
    install()
    html = text(alice, page)
    assert nothing in html
    assert "Clear filters" not in html
    world.pipeline("One", noop("a"), root=tmp_path)
    html = text(alice, f"{page}?search=zzz")
    assert no_match in html
    assert "Clear filters" in html


def test_lists_cost_the_same_number_of_queries_with_many_rows(alice: Client, tmp_path: Path) -> None:
    fan = [noop("first"), *(noop(f"s{n}", "first") for n in range(3))]
    for n in range(2):
        world.pipeline(f"Few {n}", *fan, root=tmp_path)
    one = Pipeline.objects.latest("created_at")
    few = {page: queries(alice, page) for page in ("/", "/pipelines/", "/tasks/")}
    detail = queries(alice, f"/pipelines/{one.pk}/")
    for n in range(8):
        world.pipeline(f"More {n}", *fan, noop("last", "s0", "s1", "s2"), root=tmp_path)
    assert {page: queries(alice, page) for page in few} == few
    many = world.pipeline("Many", *fan, *(noop(f"t{n}", "s1") for n in range(20)), root=tmp_path)
    assert queries(alice, f"/pipelines/{many.pk}/") == detail


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"first", "second", "waits"}), ("?state=failed", {"second"}), ("?state=queued", {"waits"}),
        ("?queue=training", set()), ("?queue=default", {"first", "second", "waits"}), ("?search=waits", {"waits"}),
        ("?state=nonsense", set()),
    ],
)  # fmt: skip
def test_tasks_filter_by_their_address(
    alice: Client, broken: Pipeline, tmp_path: Path, query: str, names: set[str]
) -> None:
    world.pipeline("Later", noop("waits"), root=tmp_path, work=False)
    page = alice.get(f"/tasks/{query}").context["page"]
    assert {task.stage.name for task in page.object_list} == names


# --- One pipeline -------------------------------------------------------------------------------------------


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


# --- Tasks --------------------------------------------------------------------------------------------------


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


# --- The editor ---------------------------------------------------------------------------------------------


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Mine", "priority": "5", "max_retries": "0", "row": ["0", "1"],
        "stage-0-name": "first", "stage-0-kind": "noop", "stage-0-params": "result.rows = 3",
        "stage-1-name": "second", "stage-1-kind": "noop", "stage-1-after": "0", "stage-1-timeout_s": "60", **changes,
    }  # fmt: skip


@pytest.mark.parametrize(("do", "status"), [("save", "pending"), ("start", "running")])
def test_a_pipeline_is_made_as_the_form_says(alice: Client, do: str, status: str) -> None:
    install()
    answer = alice.post("/pipelines/create/", fields(do=do))
    made = Pipeline.objects.get()
    assert answer["Location"] == f"/pipelines/{made.pk}/"
    assert (made.name, made.status) == ("Mine", status)
    first, second = made.stages.order_by("order")
    assert first.params == {"result": {"rows": 3}}
    assert list(second.depends_on.all()) == [first]
    assert second.timeout_s == 60


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"stage-0-after": "1"}, "stage-0-after-errors", "wait for each other"),
        ({"stage-1-name": "first"}, "stage-1-name-errors", "Another stage has this name."),
        ({"stage-1-name": "Not good"}, "stage-1-name-errors", "Small letters"),
        ({"stage-1-name": ""}, "stage-1-name-errors", "Give the stage a name."),
        ({"stage-0-params": "rows = 3"}, "stage-0-params-errors", "rows: A no-op takes"),
        ({"stage-0-params": "{"}, "stage-0-params-errors", "no JSON object"),
        ({"stage-0-params": "result = {{ stages.second.result.x }}"}, "stage-0-params-errors", "depends on"),
        ({"stage-0-kind": "nothing"}, "stage-0-kind-errors", "no such kind"),
        ({"stage-0-kind": "train_model"}, "stage-0-params-errors", "recipe"),
        ({"stage-1-timeout_s": "soon"}, "stage-1-timeout_s-errors", "whole number"),
        ({"name": ""}, "name-errors", "Give the pipeline a name."),
        ({"priority": "99"}, "priority-errors", "from 1 to 10"),
    ],
)  # fmt: skip
def test_a_refused_pipeline_says_why_at_the_field_and_makes_nothing(
    alice: Client, changes: dict[str, Any], field: str, told: str
) -> None:
    install()
    answer = alice.post("/pipelines/create/", fields(description="kept", **changes))
    html = answer.content.decode()
    assert answer.status_code == 422
    at = html.split(f'id="{field}"', 1)[1].split("</div>", 1)[0]
    assert told in at
    assert 'value="kept"' in html
    assert 'aria-invalid="true"' in html
    assert not Pipeline.objects.exists()


def test_without_any_stage_it_is_refused(alice: Client) -> None:
    install()
    answer = alice.post("/pipelines/create/", {"name": "x", "priority": "5"})
    assert answer.status_code == 422
    assert "at least one stage" in answer.content.decode()


def test_stages_are_added_and_removed_without_a_script(alice: Client) -> None:
    install()
    html = alice.post("/pipelines/create/", fields(add="1")).content.decode()
    assert html.count("data-stage>") == 3
    assert 'id="stage-2-name"' in html
    html = alice.post("/pipelines/create/", fields(remove="0")).content.decode()
    assert html.count("data-stage>") == 1
    assert 'value="second"' in html
    assert not Pipeline.objects.exists()


def test_the_preview_tells_of_a_cycle_and_not_of_what_is_still_empty(alice: Client) -> None:
    install()
    html = alice.post("/pipelines/create/preview/", fields(**{"stage-0-after": "1", "name": ""})).content.decode()
    assert "wait for each other: first → second → first" in html
    assert 'class="broken"' in html
    assert "Give the pipeline a name" not in html
    blank = {"row": "0", "stage-0-kind": "train_model", "priority": "5"}
    html = alice.post("/pipelines/create/preview/", blank).content.decode()
    assert 'class="error"' not in html
    assert "Not ready yet" in html


def rows(many: int) -> dict[str, Any]:
    """The form as a browser sends it, each stage after all before it."""
    sent: dict[str, Any] = {"name": "Dense", "priority": "5", "max_retries": "0", "description": ""}
    for n in range(many):
        own = {"name": f"s{n}", "kind": "noop", "params": "", "queue": "", "timeout_s": "", "max_retries": "0"}
        sent |= {f"stage-{n}-{name}": value for name, value in own.items()}
        sent[f"stage-{n}-after"] = [str(other) for other in range(n)]
    return sent | {"row": [str(n) for n in range(many)]}


def test_the_form_takes_sixty_stages_and_says_what_to_do_with_more(alice: Client, wide: Pipeline) -> None:
    made = alice.post("/pipelines/create/", rows(MOST_ROWS) | {"do": "save"})
    assert made.status_code == 302
    assert Pipeline.objects.get(name="Dense").stages.count() == MOST_ROWS
    told = "This form takes at most 60 stages. Larger pipelines, up to 500, are made over the API."
    full = alice.post("/pipelines/create/", rows(MOST_ROWS - 1) | {"add": "1"}).content.decode()
    assert full.count("data-stage>") == MOST_ROWS
    assert told in full
    more = alice.post("/pipelines/create/", rows(MOST_ROWS) | {"add": "1"}).content.decode()
    assert more.count("data-stage>") == MOST_ROWS
    refused = alice.post("/pipelines/create/", rows(MOST_ROWS + 1) | {"do": "save"})
    assert refused.status_code == 422
    assert told in refused.content.decode()
    assert Pipeline.objects.filter(name="Dense").count() == 1
    copied = alice.get(f"/pipelines/create/?from={wide.pk}", follow=True)
    assert copied.redirect_chain[-1][0] == f"/pipelines/{wide.pk}/"
    assert told in copied.content.decode()


def test_a_copy_starts_from_what_is_there(alice: Client, broken: Pipeline) -> None:
    html = text(alice, f"/pipelines/create/?from={broken.pk}")
    assert html.count("data-stage>") == 3
    assert 'value="Broken"' in html
    assert "Can be started" in html
    assert text(alice, "/pipelines/create/?from=nonsense").count("data-stage>") == 1


def test_a_viewer_makes_and_changes_nothing(vera: Client, broken: Pipeline) -> None:
    assert 'href="/pipelines/create/' not in text(vera, "/pipelines/")
    assert vera.post("/pipelines/create/", fields()).status_code == 403
    assert vera.post(f"/pipelines/{broken.pk}/retry/").status_code == 403


def test_training_stages_lead_to_their_curves(alice: Client, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=3)
    stage = run.job.stage
    assert f"/jobs/{stage.pk}/" in text(alice, f"/pipelines/{stage.pipeline_id}/")
    assert f"/pipelines/{stage.pipeline_id}/" in text(alice, f"/jobs/{stage.pk}/")
