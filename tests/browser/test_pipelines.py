"""Pipelines in a browser: made by keyboard alone or from a template, watched to the end, at 200 stages too."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pipelines.folding import MOST_NODES
from pipelines.models import Pipeline, Stage
from pipelines.pipeline_templates import TEMPLATES
from pipelines.services.control import retry_stage, start_pipeline
from pipelines.services.delete import delete_pipeline
from pipelines.states import StageEvent
from pipelines.transitions import move_stage

from . import world
from .conftest import until
from .world import LOST_LOOK_UP, noop

LIVE = "document.documentElement.dataset.live === 'on'"
SWAP_MS = 16


@pytest.fixture
def there(page: Page, tmp_path: Path) -> Path:
    """Not the first pipeline of all."""
    world.pipeline("There already", noop("a"), root=tmp_path)
    return tmp_path


def test_two_stages_by_keyboard_a_cycle_told_and_mended_then_started_and_watched(page: Page, there: Path) -> None:
    page.goto("/pipelines/")
    page.keyboard.press("n")
    page.wait_for_url("**/pipelines/create/")
    page.locator("#name").focus()
    page.keyboard.type("By keyboard")
    page.locator("#stage-0-name").focus()
    page.keyboard.type("first")
    page.keyboard.press("Tab")
    page.keyboard.type("No-op")
    expect(page.locator("#stage-0-kind")).to_have_value("noop")
    expect(page.locator("#preview .node")).to_contain_text("first")
    page.get_by_role("button", name="Add a stage").focus()
    page.keyboard.press("Enter")
    # The new stage's name has the focus, and it runs after the one before.
    expect(page.locator("#stage-1-name")).to_be_focused()
    page.keyboard.type("second")
    expect(page.locator("#stage-0-after-box")).to_contain_text("second")
    expect(page.locator("#stage-1-name")).to_have_value("second")
    assert page.locator("#stage-1-after-0").is_checked()

    page.locator("#stage-0-after-1").focus()
    page.keyboard.press("Space")
    expect(page.locator("#stage-0-after-errors")).to_contain_text("wait for each other: first → second → first")
    expect(page.locator("#stage-0-after-1")).to_be_focused()
    expect(page.locator("#stage-0-after-1")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#preview .edges .broken")).to_have_count(1)
    page.get_by_role("button", name="Start now").focus()
    page.keyboard.press("Enter")
    # Refused: the first wrong field has the focus.
    expect(page.locator("#stage-0-after-1")).to_be_focused()
    assert not Pipeline.objects.filter(name="By keyboard").exists()
    page.keyboard.press("Space")
    expect(page.locator("#preview")).to_contain_text("Can be started")
    page.get_by_role("button", name="Start now").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/pipelines/*-*/")

    until(page, LIVE)
    page.evaluate("window.sameDocument = true")
    page.locator(".node a").first.focus()
    world.do_work()
    expect(page.locator("#pipeline-status")).to_contain_text("Completed")
    expect(page.locator("#announce")).to_have_text("Completed")
    expect(page.locator(".node[data-shape=completed]")).to_have_count(2)
    expect(page.get_by_role("row", name="second")).to_contain_text("Completed")
    assert page.evaluate("window.sameDocument") is True
    assert page.evaluate("document.activeElement.closest('.node') !== null"), "the graph kept the focus"


def test_a_template_is_chosen_changed_and_started(page: Page, there: Path) -> None:
    template = TEMPLATES[0]
    page.goto("/pipelines/create/")
    starters = page.get_by_role("navigation", name="Start from a template")
    expect(starters.get_by_role("link")).to_have_count(len(TEMPLATES) + 1)
    expect(starters.locator("[aria-current]")).to_contain_text("Empty")
    starters.get_by_role("link", name=template.name).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/?template=*")
    expect(starters.locator("[aria-current]")).to_contain_text(template.name)
    expect(page.locator("[data-stage]")).to_have_count(len(template.stages))
    expect(page.locator("#preview .node")).to_have_count(len(template.stages))
    # What was typed decides, not the template.
    page.locator("#name").fill("From a template")
    page.locator("[data-stage]").last.get_by_role("button", name="Remove").click()
    expect(page.locator("[data-stage]")).to_have_count(len(template.stages) - 1)
    expect(page.locator("#name")).to_have_value("From a template")
    page.get_by_role("button", name="Save only").click()
    page.wait_for_url("**/pipelines/*-*/")
    made = Pipeline.objects.get(name="From a template")
    assert {stage.name for stage in made.stages.all()} == {stage.name for stage in template.stages[:-1]}
    page.goto("/pipelines/create/?template=" + template.slug)
    starters.get_by_role("link", name="Empty").click()
    expect(page.locator("[data-stage]")).to_have_count(1)


def test_a_failure_is_told_retried_with_other_parameters_and_completes(page: Page, there: Path) -> None:
    made = world.pipeline("Broken", noop("first"), noop("second", "first", result=LOST_LOOK_UP), root=there)
    page.goto(f"/pipelines/{made.pk}/")
    expect(page.locator("#pipeline-notice")).to_contain_text("Stage second failed")
    page.get_by_role("link", name="Retry this stage").click()
    page.get_by_label("Parameters").fill("result.rows = 3")
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url("**/?stage=second")
    world.do_work()
    expect(page.locator("#pipeline-status")).to_contain_text("Completed")
    expect(page.locator("#live-region")).to_contain_text("rows = 3")


def test_the_list_follows_takes_in_and_forgets(page: Page, there: Path) -> None:
    made = world.pipeline("Listed", noop("a"), noop("b", "a"), root=there, start=False)
    page.goto("/pipelines/")
    until(page, LIVE)
    row = page.get_by_role("row", name="Listed")
    expect(row).to_contain_text("Pending")
    start_pipeline(made.pk, user=world.person())
    expect(row).to_contain_text("Running")
    # A button of a pushed row works as one that came with the page.
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("Paused")
    row.get_by_role("button", name="Resume").click()
    world.do_work()
    expect(row).to_contain_text("2 of 2 stages")
    expect(row).to_contain_text("Completed")
    world.pipeline("Came later", noop("a"), root=there)
    expect(page.get_by_role("row", name="Came later")).to_contain_text("Completed")
    delete_pipeline(made, user=world.person())
    expect(row).to_have_count(0)


def test_tasks_follow(page: Page, there: Path) -> None:
    made = world.pipeline("Later", noop("waits"), root=there, work=False)
    page.goto("/tasks/")
    until(page, LIVE)
    expect(page.get_by_role("row", name="waits")).to_contain_text("Queued")
    world.do_work()
    expect(page.get_by_role("row", name="waits")).to_contain_text("Completed")
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.wait_for_url("**/pipelines/")
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/tasks/")
    assert Pipeline.objects.get(pk=made.pk).status == "completed"


def test_a_node_of_sixty_is_swapped_alone_and_fast(page: Page, there: Path) -> None:
    names = [f"s{n:03}" for n in range(MOST_NODES - 1)]
    made = world.pipeline("Wide", noop("root"), *(noop(name, "root") for name in names), root=there, work=False)
    Stage.objects.filter(pipeline=made, name__startswith="s").update(status="running")
    page.goto(f"/pipelines/{made.pk}/")
    until(page, LIVE)
    page.wait_for_timeout(1500)
    page.evaluate(
        """() => {
          window.swaps = [];
          let began;
          document.addEventListener('htmx:before:swap', () => { began = performance.now(); }, true);
          document.addEventListener('htmx:after:swap', () => { swaps.push(performance.now() - began); }, true);
          window.others = [...document.querySelectorAll('.node')].slice(50);
          document.querySelector('[data-graph]').scrollTop = 300;
        }"""
    )
    for stage in Stage.objects.filter(pipeline=made, name__in=names[:8]).order_by("name"):
        move_stage(stage.pk, StageEvent.COMPLETE, actor="test")
        expect(page.locator(f"#node-{stage.pk}")).to_have_attribute("data-shape", "completed")
    assert page.evaluate("others.every((node) => node.isConnected)"), "nodes that did not change stayed as they were"
    assert page.evaluate("document.querySelector('[data-graph]').scrollTop") == 300
    times = sorted(page.evaluate("swaps"))
    # Nobody works on them: they would keep the slots from the tests that follow.
    Stage.objects.filter(pipeline=made).exclude(status="completed").update(status="cancelled")
    assert times[len(times) // 2] <= SWAP_MS


def test_two_hundred_stages_fold_count_along_and_open_by_keyboard(page: Page, there: Path) -> None:
    names = [f"s{n:03}" for n in range(198)]
    lanes = (noop(name, "root") for name in names)
    made = world.pipeline("Folded", noop("root"), *lanes, noop("last", *names), root=there, work=False)
    Stage.objects.filter(pipeline=made, name__in=names).update(status="running")
    page.goto(f"/pipelines/{made.pk}/")
    until(page, LIVE)
    page.evaluate("window.sameDocument = true")
    expect(page.locator(".node")).to_have_count(3)
    expect(page.locator("#stages tbody tr")).to_have_count(50)
    fold = page.locator(".fold")
    fold.locator("a").focus()
    expect(fold).to_contain_text("198 Running")
    for stage in Stage.objects.filter(pipeline=made, name__in=names[10:13]):
        move_stage(stage.pk, StageEvent.COMPLETE, actor="test")
    expect(fold).to_contain_text("195 Running")
    expect(fold).to_contain_text("3 Completed")
    # The list is looked at again, and what has the focus keeps it.
    expect(page.get_by_role("row", name="s012")).to_contain_text("Completed")
    expect(page.locator("#stages .chip", has_text="Completed")).to_contain_text("3")
    assert page.evaluate("document.activeElement.closest('.fold') !== null")
    assert page.evaluate("window.sameDocument") is True

    page.keyboard.press("Enter")
    page.wait_for_url("**/?fold=s000#stages")
    expect(page.locator("#stages-title")).to_have_text("198 \N{MULTIPLICATION SIGN} No-op")
    page.locator("#stages .chip", has_text="Completed").click()
    expect(page.locator("#stages tbody tr")).to_have_count(3)
    page.keyboard.press("/")
    page.keyboard.type("012")
    page.keyboard.press("Enter")
    expect(page.locator("#stages tbody tr")).to_have_count(1)
    page.locator("#stages .row-link").click()
    expect(page.locator("#stage-title")).to_have_text("s012")
    expect(page.locator("#stages tbody tr")).to_have_count(1)
    Stage.objects.filter(pipeline=made).exclude(status="completed").update(status="cancelled")


def test_a_stage_is_retried_while_its_page_is_open(page: Page, there: Path) -> None:
    made = world.pipeline("Broken", noop("first"), noop("second", "first", result=LOST_LOOK_UP), root=there)
    page.goto(f"/pipelines/{made.pk}/")
    until(page, LIVE)
    retry_stage(Stage.objects.get(pipeline=made, name="second"), user=world.person(), params={"result": {"rows": 1}})
    expect(page.locator("#pipeline-status")).to_contain_text("Running")
    expect(page.locator("#pipeline-notice")).not_to_contain_text("Why it failed")
    world.do_work()
    expect(page.locator("#pipeline-status")).to_contain_text("Completed")
    # The two tries of the stage show among its facts as well.
    expect(page.locator("#live-region .attempts li")).to_have_count(2)


def test_a_graph_wider_than_its_room_shows_it_and_scrolls_by_keys(page: Page, tmp_path: Path) -> None:
    names = [f"layer-{n}" for n in range(7)]
    stages = [world.noop(name, *names[n - 1 : n]) if n else world.noop(name) for n, name in enumerate(names)]
    made = world.pipeline("Deep", *stages, root=tmp_path)
    page.goto(f"/pipelines/{made.pk}/")
    graph = page.locator("[data-graph]")
    assert graph.evaluate("graph => graph.scrollWidth > graph.clientWidth")
    # Two fades stay at the edges; two covers travel along and lie over them where nothing more comes.
    assert (
        graph.evaluate("graph => getComputedStyle(graph).backgroundAttachment")
        == "local, local, scroll, scroll, scroll"
    )
    graph.focus()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('[data-graph]').scrollLeft > 0")
