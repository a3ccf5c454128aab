"""The lists of pipelines, tasks and many stages: what they filter by, what they cost."""

from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pipelines.kinds.registry import kind_of, names
from pipelines.live.render_pipelines import pipeline_parts
from pipelines.models import Pipeline, Stage
from pipelines.services.builtin import install
from pipelines.services.create import MOST_STAGES
from platform_site import display
from tests.browser import world
from tests.browser.world import LOST_LOOK_UP, noop

from .looks import queries, text

pytestmark = pytest.mark.django_db


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
