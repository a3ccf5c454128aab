"""Everything by keyboard alone."""

import sys
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Page, expect

from environments.models import Host
from pipelines.models import Job

from . import world


def test_going_places_searching_and_help(page: Page, tmp_path: Path) -> None:
    first = world.run("completed", name="Newest", root=tmp_path, steps=0, age=timedelta(seconds=1))
    world.run("completed", name="Older", root=tmp_path, steps=0, age=timedelta(minutes=9))
    page.goto("/")
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url("**/jobs/")
    page.keyboard.press("j")
    expect(page.locator(".row-link").nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator(".row-link").nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{first.job.pk}/")
    page.go_back()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("older")
    page.keyboard.press("Enter")
    page.wait_for_url("**search=older**")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_shortcuts_can_be_switched_off(page: Page) -> None:
    page.goto("/jobs/")
    page.keyboard.press("?")
    page.get_by_label("Single-key shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_timeout(300)
    assert page.url.endswith("/jobs/")


def test_skip_link_leads_to_the_content(page: Page) -> None:
    page.goto("/recipes/")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_start_with_a_wrong_setting_correct_it_and_cancel(page: Page, tmp_path: Path) -> None:
    world.run("completed", root=tmp_path, steps=0)
    Host.objects.update(python=sys.executable)
    page.goto("/jobs/new/?recipe=tiny-sft")
    page.locator("input[name=name]").focus()
    page.keyboard.type("By keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("trainer.total_epoch")
    page.keyboard.press("Tab")
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    key = page.locator("input[name=key]").first
    # The first wrong field has the focus: type over it.
    expect(key).to_be_focused()
    expect(page.locator(".override-row .error")).to_contain_text("trainer.total_epochs")
    page.keyboard.press("Control+a")
    page.keyboard.type("trainer.total_epochs")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*-*/")
    made = Job.objects.get(name="By keyboard")
    assert made.overrides == {"trainer.total_epochs": 1}
    page.locator("#job-actions a.danger").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    # The harmless answer has the focus.
    expect(dialog.get_by_role("button", name="Keep it running")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#job-status")).to_contain_text("Cancelled")


def test_a_chart_is_read_point_by_point(page: Page, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=40, target=40)
    page.goto(f"/jobs/{run.job.pk}/")
    chart = page.get_by_role("slider", name="train/loss")
    page.wait_for_selector("metric-chart canvas")
    chart.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuenow", "39")
    value = f"{world.metrics(39)['train/loss']:.4g}"
    expect(chart).to_have_attribute("aria-valuetext", f"train/loss: {value} at step 39")
    page.keyboard.press("Home")
    expect(chart).to_have_attribute("aria-valuenow", "1")
    data = page.locator("metric-chart[name='train/loss'] details")
    data.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(data.get_by_role("row")).to_have_count(41)
