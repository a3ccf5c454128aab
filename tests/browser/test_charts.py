"""Charts: zoom, smoothing, axes, values that are no numbers, long runs."""

import json
import math
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from monitoring.services.sync import open_segment
from pipelines.models import ChartLayout

from . import world
from .conftest import Site, signed_in, until, watched
from .test_live_updates import grow, open_run


@pytest.fixture(autouse=True)
def _nothing_chosen(database: None) -> None:
    ChartLayout.objects.all().delete()


@pytest.fixture
def run(page: Page, tmp_path: Path) -> world.Run:
    made = world.run("completed", root=tmp_path, steps=120, target=120)
    page.goto(f"/jobs/{made.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    return made


def test_dragging_zooms_all_charts_and_a_double_click_leaves(page: Page, run: world.Run) -> None:
    over = page.locator("metric-chart .u-over").first
    box = over.bounding_box()
    assert box is not None
    whole = page.get_by_role("button", name="Whole run")
    expect(whole).to_be_hidden()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40, steps=5)
    page.mouse.up()
    expect(whole).to_be_visible()
    slider = page.get_by_role("slider", name="train/loss")
    slider.focus()
    page.keyboard.press("Home")
    first = int(slider.get_attribute("aria-valuenow") or 0)
    page.keyboard.press("End")
    last = int(slider.get_attribute("aria-valuenow") or 0)
    assert 25 <= first <= 36
    assert 55 <= last <= 65
    over.dblclick()
    expect(whole).to_be_hidden()


def kept(**wanted: Any) -> None:
    """Waits until the server has taken a choice."""
    end = time.monotonic() + 10
    while not ChartLayout.objects.filter(**{f"layout__{name}": value for name, value in wanted.items()}).exists():
        assert time.monotonic() < end, list(ChartLayout.objects.values_list("layout", flat=True))
        time.sleep(0.05)


def brush(page: Page, start: float, end: float) -> None:
    """Drag over the first chart, from and to these shares of its width."""
    over = page.locator("metric-chart .u-over").first
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 40, steps=5)
    page.mouse.up()


def test_axes_scales_and_smoothing_are_remembered(page: Page, run: world.Run) -> None:
    with page.expect_response(lambda answer: "/metrics/rows/" in answer.url):
        page.get_by_role("button", name="Time", exact=True).click()
    page.get_by_role("button", name="Log", exact=True).click()
    page.get_by_label("Smoothing").fill("0.6")
    page.locator("summary", has_text="Choose").click()
    page.get_by_role("group", name="Columns").get_by_role("button", name="1").click()
    kept(smoothing=0.6, scale="log", axis="time", columns=1)
    page.reload()
    expect(page.get_by_role("button", name="Time", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-charts]")).to_have_attribute("data-shown", "1")
    expect(page.get_by_role("button", name="Log", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Smoothing")).to_have_value("0.6")


def test_values_that_are_no_numbers_are_named(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=5, age=timedelta(seconds=5))
    lines = [
        {"v": 1, "step": 6, "time": 1.0, "metrics": {"train/loss": "NaN", "train/grad_norm": -3.5}},
        {"v": 1, "step": 7, "time": 2.0, "metrics": {"train/loss": "Infinity", "train/grad_norm": 0}},
    ]
    with run.metrics_file.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    run.sync()
    page.goto(f"/jobs/{run.job.pk}/")
    expect(page.locator("metric-chart[name='train/loss'] .chart-read")).to_contain_text("Infinity")
    # A logarithm of what is not positive: the scale bends around zero instead of dropping the points.
    page.get_by_role("button", name="Log", exact=True).click()
    slider = page.get_by_role("slider", name="train/grad_norm")
    slider.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "train/grad_norm: -3.5 at step 6")


def test_a_long_run_comes_in_few_points_and_finer_when_zoomed(page: Page, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=5000, target=5000, spacing_s=0.01, age=timedelta(hours=1))
    page.goto(f"/jobs/{run.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    over = page.locator("metric-chart .u-over").first
    box = over.bounding_box()
    assert box is not None
    with page.expect_response(lambda answer: "start_step=" in answer.url and "points=" in answer.url) as finer:
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 40, steps=5)
        page.mouse.up()
    answer = finer.value.json()
    assert answer["resolution"] == 1
    assert 400 <= len(answer["series"]["train/loss"]) <= 600


def names_of(page: Page) -> list[str | None]:
    return [chart.get_attribute("name") for chart in page.locator("metric-chart[colour]:not([sync])").all()]


def test_escape_closes_the_choice_after_something_was_ticked(page: Page, run: world.Run) -> None:
    menu = page.locator("details.chooser")
    menu.locator("summary").click()
    for put_there in (
        lambda: page.get_by_role("checkbox", name="train/lr").focus(),
        menu.locator("legend").first.click,
    ):
        put_there()
        page.keyboard.press("Space")
        page.keyboard.press("Escape")
        expect(menu).not_to_have_attribute("open", "")
        expect(menu.locator("summary")).to_be_focused()
        page.keyboard.press("Enter")
    box = page.get_by_role("checkbox", name="train/lr")
    box.click()
    kept(charts=names_of(page))
    expect(box).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).not_to_have_attribute("open", "")


def test_what_was_chosen_follows_its_reader_to_another_browser(
    browser: Browser, site: Site, page: Page, run: world.Run
) -> None:
    page.click("details.chooser > summary")
    page.get_by_role("checkbox", name="train/lr").uncheck()
    page.get_by_role("button", name="Loss", exact=True).click()
    page.get_by_role("button", name="Tokens/s", exact=True).click()
    expect(page.get_by_role("button", name="Tokens/s", exact=True)).to_be_focused()
    expect(page.get_by_role("button", name="KL", exact=True)).to_be_disabled()
    wanted = names_of(page)
    assert "val/loss" not in wanted  # both losses were shown: the button took them away
    kept(charts=wanted)
    with signed_in(browser, site) as other:
        again = watched(other).page
        again.goto(f"/jobs/{run.job.pk}/")
        expect(again.locator("metric-chart canvas")).to_have_count(len(wanted))
        assert names_of(again) == wanted
    world.person("bob")
    with signed_in(browser, site, "bob") as other:
        again = watched(other).page
        again.goto(f"/jobs/{run.job.pk}/")
        expect(again.locator("metric-chart[name='train/lr']")).to_have_count(1)


def test_looking_at_the_past_pauses_the_present_and_says_how_much_it_is(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=100, age=timedelta(seconds=30))
    open_run(page, run)
    brush(page, 0.25, 0.5)
    history = page.locator("[data-history]")
    expect(history).to_contain_text("Steps 2")
    expect(history).to_contain_text("records")
    slider = page.get_by_role("slider", name="train/loss")
    before = slider.get_attribute("aria-valuemax")
    grow(run, range(101, 111))
    expect(history).to_contain_text("10 newer")
    assert slider.get_attribute("aria-valuemax") == before
    connection = page.locator("[data-connection]")
    expect(connection).to_be_hidden()  # what stands still is not live
    steps = page.locator("[data-history-range]").inner_text()
    for axis in ("Time", "Step"):
        page.get_by_role("button", name=axis, exact=True).click()
        expect(page.get_by_role("button", name=axis, exact=True)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("[data-history-range]")).to_have_text(steps)
        expect(history).to_contain_text("records")
    page.get_by_role("button", name="Live", exact=True).click()
    expect(connection).to_be_visible()
    expect(slider).to_have_attribute("aria-valuemax", "110")
    expect(history).to_be_hidden()


def test_a_span_of_one_step_or_none_shows_what_is_there_and_the_way_back(page: Page, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=5, target=5, spacing_s=0.1, age=timedelta(hours=1))
    page.goto(f"/jobs/{run.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    history, read = page.locator("[data-history]"), page.locator("metric-chart[name='train/loss'] .chart-read")
    slider = page.get_by_role("slider", name="train/loss")
    brush(page, 0.2, 0.3)
    expect(history).to_contain_text("Step 2 1 record")
    expect(read).to_contain_text("Step 2")
    page.get_by_role("button", name="Whole run").click()
    brush(page, 0.3, 0.45)
    expect(history).to_contain_text("Between steps 2 and 3 Nothing was logged here. A double click leads back.")
    expect(read).to_have_text("")
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("Nothing was logged here"))
    # What is played back is the run then, not what is not there.
    page.get_by_role("button", name="Play back").click()
    expect(page.locator("#playback-position")).to_contain_text("of 5")
    page.get_by_role("button", name="Whole run").click()
    brush(page, 0.3, 0.45)
    page.locator("metric-chart .u-over").first.dblclick()
    expect(history).to_be_hidden()


def test_a_run_is_played_back_by_keys_and_by_its_bar(page: Page, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=400, target=400, spacing_s=0.1, age=timedelta(hours=1))
    page.goto(f"/jobs/{run.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    newest = "document.querySelector('metric-chart[name=\"train/loss\"] .chart-area').ariaValueMax"
    page.locator("#charts-title").click()
    page.keyboard.press("Space")
    player = page.get_by_role("group", name="Playback")
    expect(player).to_be_visible()
    until(page, f"{newest} >= 3 && {newest} < 100")
    expect(page.locator("#playback-position")).to_contain_text("of 400")
    for _ in range(3):
        page.keyboard.press("]")
    expect(page.get_by_label("Speed")).to_have_value("10")
    expect(page.locator("#announce")).to_contain_text("Speed 10")
    until(page, f"{newest} > 40")
    page.keyboard.press("Space")
    expect(page.locator("#announce")).to_have_text("Paused")
    page.wait_for_timeout(300)
    held = page.evaluate(newest)
    page.wait_for_timeout(300)
    assert page.evaluate(newest) == held
    seek = page.get_by_label("Step to play from")
    seek.fill("390")
    expect(page.locator("#playback-position")).to_have_text("Step 390 of 400")
    assert page.evaluate(newest) == "389"
    player.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator("#announce")).to_have_text("The playback is at its end.")
    assert page.evaluate(newest) == "400"
    # From the end it begins again.
    player.get_by_role("button", name="Play", exact=True).click()
    until(page, f"{newest} < 300")
    player.get_by_role("button", name="Whole run").click()
    expect(player).to_be_hidden()
    until(page, f"{newest} === '400'")


def test_where_an_attempt_began_and_what_it_left_behind_are_seen(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=60, age=timedelta(seconds=60))
    second = tmp_path / "second_metrics.jsonl"
    open_segment(run.job.stream_id, attempt=2, path=str(second), resumed_from=40)
    second.write_text(
        "".join(
            json.dumps({"v": 1, "step": step, "time": 1.0 + step, "metrics": world.metrics(step, seed=2)}) + "\n"
            for step in range(41, 51)
        )
    )
    run.sync()
    with page.expect_response(lambda answer: "attempt=1" in answer.url) as tail:
        page.goto(f"/jobs/{run.job.pk}/")
    steps = [point[0] for point in tail.value.json()["series"]["train/loss"]]
    assert steps == [*range(41, 61)]
    slider = page.get_by_role("slider", name="train/loss")
    expect(slider).to_have_attribute("aria-valuemax", "50")


def test_the_machine_is_drawn_and_follows(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=20, age=timedelta(minutes=5))
    run.measure(range(1, 21))
    open_run(page, run)
    now = page.locator("#machine-now")
    expect(now).to_contain_text("GPU 1")
    expect(now).to_contain_text("89.0 GiB free")
    now.scroll_into_view_if_needed()
    chart = page.get_by_role("slider", name="GPU use, %")
    expect(chart).to_have_attribute("aria-valuetext", "GPU use, %: 70 after 1 min 40 s")
    run.measure(range(21, 22))
    expect(chart).to_have_attribute("aria-valuetext", "GPU use, %: 71 after 1 min 45 s")


def test_rows_are_paged_and_a_run_is_read_by_hand(page: Page, run: world.Run) -> None:
    page.get_by_text("Data", exact=True).first.click()
    page.get_by_role("link", name="Rows as logged").click()
    expect(page.get_by_role("row")).to_have_count(51)
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_role("row").nth(1).locator("th")).to_have_text("51")
    page.get_by_label("From step").fill("119")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_role("link", name=run.job.name).click()
    page.locator(".chart-bar summary", has_text="Data").click()
    page.get_by_role("button", name="Read the file now").click()
    expect(page.locator(".toast")).to_contain_text("There was nothing new.")


def test_a_finding_is_drawn_into_its_chart_and_leads_to_its_steps(page: Page, tmp_path: Path) -> None:
    sick = world.sick_run(tmp_path)
    page.goto(f"/jobs/{sick.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    colour = """() => {
      const chart = document.querySelector('metric-chart[name="train/grad_norm"] canvas');
      const { data } = chart.getContext("2d").getImageData(0, 0, chart.width, 16 * devicePixelRatio);
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200 && data[i] > data[i + 2] + 80) return true;
      return false;
    }"""
    page.wait_for_function(colour)
    page.locator("#job-notice a[data-window]").click()
    expect(page.locator("[data-history-range]")).to_contain_text("150")
    expect(page.locator("[data-history-range]")).to_contain_text("170")
    expect(page.get_by_role("button", name="Whole run")).to_be_visible()


# A canvas tells nobody what stands on it: each keeps what was written since it was last cleared.
WRITTEN = """
const {fillText, clearRect} = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.clearRect = function (...box) {
  this.canvas.written = [];
  clearRect.apply(this, box);
};
CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {
  (this.canvas.written ??= []).push([this.textAlign, text]);
  fillText.apply(this, [text, ...at]);
};
"""


def labels(page: Page, name: str, axis: str) -> list[str]:
    """The tick labels of a chart, as drawn: those below it stand centred, those beside it end at it."""
    page.wait_for_timeout(300)
    written = page.locator(f"metric-chart[name='{name}'] canvas").evaluate("canvas => canvas.written")
    return [text for align, text in written if text and align == {"x": "center", "y": "right"}[axis]]


@pytest.mark.parametrize("spacing_s", [0.01, 0.2, 0.7, 20.0, 700.0])
def test_no_two_ticks_of_the_time_axis_read_the_same(page: Page, tmp_path: Path, spacing_s: float) -> None:
    run = world.run("completed", root=tmp_path, steps=10, target=10, spacing_s=spacing_s, age=timedelta(hours=3))
    page.add_init_script(WRITTEN)
    page.goto(f"/jobs/{run.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    page.get_by_role("button", name="Time", exact=True).click()
    until(page, "document.querySelector('[data-charts] canvas').written.some(([, text]) => / s$| min$/.test(text))")
    for zoom in (lambda: None, lambda: brush(page, 0.3, 0.7)):
        zoom()
        read = labels(page, "train/loss", "x")
        assert len(set(read)) == len(read) >= 2, read


@pytest.mark.parametrize("first", [1, 41000])
def test_a_part_between_two_steps_says_which_below_it(page: Page, tmp_path: Path, first: int) -> None:
    run = world.run("completed", root=tmp_path, steps=0, target=first + 4)
    open_segment(run.job.stream_id, attempt=1, path=str(run.metrics_file))
    run.metrics_file.parent.mkdir(parents=True, exist_ok=True)
    for step in range(first, first + 5):
        run.log_step(step, **{"train/loss": 1.0})
    run.sync()
    page.add_init_script(WRITTEN)
    page.goto(f"/jobs/{run.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    brush(page, 0.3, 0.45)
    for _ in range(3):
        assert labels(page, "train/loss", "x") == [f"{first + 1:,}–{first + 2:,}"]
        brush(page, 0.3, 0.45)
    page.get_by_role("button", name="Whole run").click()
    brush(page, 0.2, 0.3)
    assert labels(page, "train/loss", "x") == [f"{first + 1:,}"]


def test_a_moment_between_two_steps_is_told_below_it(page: Page, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=10, target=10, spacing_s=700.0, age=timedelta(hours=3))
    page.add_init_script(WRITTEN)
    page.goto(f"/jobs/{run.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    page.get_by_role("button", name="Time", exact=True).click()
    for _ in range(8):
        read = labels(page, "train/loss", "x")
        assert len(set(read)) == len(read) >= 1, read
        brush(page, 0.4, 0.5)


def test_a_logarithm_of_a_narrow_range_is_fitted_to_it(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=0, target=10)
    open_segment(run.job.stream_id, attempt=1, path=str(run.metrics_file))
    shown = {
        "train/global_tokens": [1336, 1340, 1354],
        "train/loss": [200, 900, 2600],
        "train/grad_norm": [1e-7, 1e-2, 3e5],
        "train/lr": [5, 5, 5],
    }
    run.metrics_file.parent.mkdir(parents=True)
    with run.metrics_file.open("a") as file:
        for i in range(3):
            metrics = {name: values[i] for name, values in shown.items()}
            file.write(json.dumps({"v": 1, "step": i + 1, "time": float(i), "metrics": metrics}) + "\n")
    run.sync()
    page.add_init_script(WRITTEN)
    page.goto(f"/jobs/{run.job.pk}/")
    page.wait_for_selector("metric-chart canvas")
    page.get_by_role("button", name="Log", exact=True).click()
    read = {name: [float(text) for text in labels(page, name, "y")] for name in shown}
    for name, values in shown.items():
        assert len(set(read[name])) == len(read[name]) >= 2, (name, read)
        room = (max(values) / min(values)) ** 0.06 if max(values) > min(values) else 2
        assert min(values) / room <= min(read[name]) <= max(read[name]) <= max(values) * room, (name, read)
    assert all(power == 10 ** round(math.log10(power)) for power in read["train/grad_norm"]), read
