"""Reading what a model answered: steps, filters and keys change the page in place, and a new step moves nothing."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipelines.states import StageEvent
from pipelines.transitions import move_stage
from tests.pages import rollout_runs as by_reward

from . import world
from .conftest import Site, signed_in, until, watched

LONG = "It begins here. " + "And it goes on and on. " * 120 + "It ends here."


@pytest.fixture
def run(database: None, tmp_path: Path) -> world.Run:
    made = by_reward.run(root=tmp_path)
    for step in range(1, 6):
        by_reward.write(made, step, [[0.0, 1.0, 0.5, 1.0], [1.0, 1.0]], response=f"step {step}. {LONG}")
    by_reward.look(made)
    return made


def open_rollouts(page: Page, run: world.Run, query: str = "") -> None:
    page.goto(f"/jobs/{run.job.pk}/rollouts/{query}")
    until(page, "document.documentElement.dataset.live === 'on'")
    page.evaluate("window.sameDocument = true")


def test_keys_links_and_slider_go_from_step_to_step(page: Page, run: world.Run) -> None:
    open_rollouts(page, run)
    now = page.locator(".step-now")
    expect(now).to_contain_text("Step 5")
    page.keyboard.press("[")
    expect(now).to_contain_text("Step 4")
    assert "step=4" in page.url
    expect(page.locator("#announce")).to_have_text("Step 4")
    page.get_by_role("link", name="Previous step").click()
    expect(now).to_contain_text("Step 3")
    slider = page.get_by_role("slider", name="Step")
    expect(slider).to_have_value("3")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(now).to_contain_text("Step 4")
    expect(slider).to_be_focused()
    page.keyboard.press("]")
    expect(now).to_contain_text("Step 5")
    # Beyond the newest there is nothing yet: the slider goes back to it.
    slider.fill("30")
    expect(now).to_contain_text("Step 5")
    expect(slider).to_have_value("5")
    assert page.evaluate("window.sameDocument") is True
    page.reload()
    expect(now).to_contain_text("Step 5")


def test_the_curve_is_read_and_clicked(page: Page, run: world.Run) -> None:
    open_rollouts(page, run)
    box = page.locator("#rollout-curve svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 20)
    expect(page.locator("[data-read]")).to_have_text("Step 1 · 0.75 (0 – 1)")
    page.mouse.click(box["x"] + 2, box["y"] + 20)
    expect(page.locator(".step-now")).to_contain_text("Step 1")
    assert page.evaluate("window.sameDocument") is True


def test_rewards_are_filtered_and_groups_ordered_in_place(page: Page, run: world.Run) -> None:
    open_rollouts(page, run)
    expect(page.locator(".answer")).to_have_count(6)
    page.get_by_role("navigation", name="Reward").get_by_role("link", name="0.5").click()
    expect(page.locator(".answer")).to_have_count(1)
    page.keyboard.press("[")
    expect(page.locator(".step-now")).to_contain_text("Step 4")
    expect(page.locator(".answer"), "a filter goes along from step to step").to_have_count(1)
    page.get_by_label("Reward from").fill("0.9")
    page.get_by_label("to", exact=True).fill("")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_count(4)
    page.get_by_label("Order").select_option("-reward")
    expect(page.locator(".prompt-card h3").first).to_have_text("Prompt 2")
    page.get_by_label("Reward from").fill("7")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Clear the filter").click()
    expect(page.locator(".answer")).to_have_count(6)
    assert page.evaluate("window.sameDocument") is True


def test_a_long_answer_unfolds_between_its_beginning_and_its_end(page: Page, run: world.Run) -> None:
    open_rollouts(page, run)
    said = page.locator(".answer .said").first
    expect(said).to_contain_text("It ends here.")
    before = said.evaluate("box => box.clientHeight")
    said.locator("summary").click()
    assert said.evaluate("box => box.clientHeight") > before
    expect(said.get_by_text("Fold", exact=True)).to_be_visible()
    expect(said.get_by_text("more characters")).to_be_hidden()


def test_a_new_step_is_told_and_moves_nothing(page: Page, run: world.Run) -> None:
    open_rollouts(page, run)
    expect(page.locator("#rollout-news")).to_be_hidden()
    page.locator(".answer summary").first.click()
    page.get_by_label("Reward from").fill("0.25")
    page.evaluate("seen.shift = 0")
    band = page.locator(".reward-line").get_attribute("points")
    before = page.evaluate("[scrollY, document.querySelector('.answer').getBoundingClientRect().top]")
    for step in (6, 7):
        by_reward.write(run, step, [[0.25]])
        by_reward.look(run)
    expect(page.locator("#rollout-news")).to_contain_text("Step 7 is there: mean reward 0.25")
    expect(page.locator("#announce")).to_contain_text("is there")
    assert page.locator(".reward-line").get_attribute("points") != band
    expect(page.locator(".step-now")).to_contain_text("Step 5")
    expect(page.locator(".answer details").first).to_have_attribute("open", "")
    expect(page.get_by_label("Reward from")).to_have_value("0.25")
    expect(page.get_by_label("Reward from")).to_be_focused()
    assert page.evaluate("[scrollY, document.querySelector('.answer').getBoundingClientRect().top]") == before
    assert page.evaluate("seen.shift") == 0
    # News are what came since the page was loaded: an older step has none.
    page.locator(".step-now").click()
    page.keyboard.press("[")
    expect(page.locator(".step-now")).to_contain_text("Step 4")
    expect(page.locator("#rollout-news")).to_be_hidden()
    by_reward.write(run, 8, [[0.25]])
    by_reward.look(run)
    page.get_by_role("link", name="Show it").click()
    expect(page.locator(".step-now")).to_contain_text("Step 8")
    expect(page.locator("#rollout-news")).to_be_hidden()
    assert page.evaluate("window.sameDocument") is True


def test_the_first_step_comes_by_itself(page: Page, database: None, tmp_path: Path) -> None:
    run = by_reward.run(root=tmp_path)
    open_rollouts(page, run)
    expect(page.get_by_text("No answers yet")).to_be_visible()
    by_reward.write(run, 1, [[1.0, 0.0]])
    by_reward.look(run)
    expect(page.locator(".answer")).to_have_count(2)
    assert move_stage(run.job.stage_id, StageEvent.COMPLETE, actor="test") is not None
    expect(page.locator("#job-status")).to_contain_text("Completed")


def test_without_javascript_steps_are_links_and_filters_a_form(browser: Browser, site: Site, run: world.Run) -> None:
    with signed_in(browser, site, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"/jobs/{run.job.pk}/rollouts/")
        page.get_by_role("link", name="Previous step").click()
        expect(page.locator(".step-now")).to_contain_text("Step 4")
        page.get_by_label("Reward from").fill("0.9")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator(".answer")).to_have_count(4)
        expect(page.locator(".step-now")).to_contain_text("Step 4")


HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'><style>main{display:none}</style>\u202e"
)


def test_what_a_model_wrote_does_nothing(browser: Browser, site: Site, database: None, tmp_path: Path) -> None:
    run = by_reward.run(root=tmp_path)
    prompt = [{"role": HOSTILE, "content": HOSTILE * 40}]
    by_reward.write(run, 1, [[1.0]], response=HOSTILE * 40, prompt=prompt, answer=HOSTILE, parts={HOSTILE: 1.0})
    by_reward.write(run, 2, [[1.0]], response=HOSTILE, prompt=prompt)
    by_reward.look(run)
    with signed_in(browser, site) as context:
        seen = watched(context)
        open_rollouts(seen.page, run)
        seen.page.keyboard.press("[")  # through a swap too
        expect(seen.page.locator(".step-now")).to_contain_text("Step 1")
        expect(seen.page.locator(".answer .said")).to_contain_text("<script>window.hacked = 1</script>")
        assert seen.page.evaluate("window.hacked ?? 0") == 0
        assert seen.page.evaluate("seen.csp") == []
        assert seen.complaints == []
