"""Charts: zoom, smoothing, axes, values that are no numbers, long runs."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from . import world


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


def test_axes_scales_and_smoothing_are_remembered(page: Page, run: world.Run) -> None:
    with page.expect_response(lambda answer: "/metrics/rows/" in answer.url):
        page.get_by_role("button", name="Time", exact=True).click()
    page.get_by_role("button", name="Log", exact=True).click()
    page.get_by_label("Smoothing").fill("0.6")
    page.reload()
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
