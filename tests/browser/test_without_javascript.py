"""With scripts off everything can still be read, and every form still submits."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from environments.models import Host
from pipelines.models import Job, Stage

from . import world
from .conftest import Site, signed_in


@pytest.fixture
def plain(browser: Browser, site: Site, database: None) -> Iterator[Page]:
    with signed_in(browser, site, java_script_enabled=False) as context:
        yield context.new_page()


def test_statuses_progress_and_reasons_are_readable(plain: Page, tmp_path: Path) -> None:
    failed = world.run("failed", name="Broken", root=tmp_path, steps=12, error="The disk is full.")
    plain.goto("/jobs/")
    expect(plain.get_by_role("row", name="Broken")).to_contain_text("Failed")
    plain.goto(f"/jobs/{failed.job.pk}/")
    expect(plain.get_by_role("heading", name="Why it failed")).to_be_visible()
    expect(plain.get_by_text("The disk is full.").first).to_be_visible()
    expect(plain.get_by_text("train/loss").first).to_be_visible()
    expect(plain.get_by_role("progressbar").first).to_be_visible()


def test_a_run_can_be_searched_started_and_cancelled(plain: Page, tmp_path: Path) -> None:
    world.run("queued", name="Waiting here", root=tmp_path, steps=0, age=timedelta(seconds=3))
    Host.objects.update(python=sys.executable)
    plain.goto("/jobs/")
    plain.get_by_role("searchbox").fill("waiting here")
    plain.get_by_role("searchbox").press("Enter")
    expect(plain.get_by_role("row")).to_have_count(2)

    plain.goto("/jobs/new/?recipe=tiny-sft")
    plain.fill("input[name=name]", "Started by hand")
    plain.click("main button.primary")
    made = Job.objects.get(name="Started by hand")
    expect(plain).to_have_url(f"{plain.url.split('/jobs/')[0]}/jobs/{made.pk}/")
    expect(plain.locator("#job-status")).to_contain_text("Queued")

    plain.click("#job-actions a.danger")
    plain.click("main button.solid-danger")
    expect(plain.locator("#job-status")).to_contain_text("Cancelled")


def test_a_wrong_setting_is_told_beside_it(plain: Page, tmp_path: Path) -> None:
    world.run("completed", root=tmp_path, steps=0)
    Host.objects.update(python=sys.executable)
    plain.goto("/jobs/new/?recipe=tiny-sft")
    plain.locator("input[name=key]").first.fill("optim.learning_rate")
    plain.locator("input[name=value]").first.fill("1e-4")
    plain.click("main button.primary")
    key = plain.locator("input[name=key]").first
    expect(key).to_have_attribute("aria-invalid", "true")
    expect(key).to_have_value("optim.learning_rate")
    expect(plain.locator(".override-row .error")).to_contain_text("no such setting")


def test_a_pipeline_is_made_started_and_cancelled(plain: Page, tmp_path: Path) -> None:
    world.pipeline("There already", world.noop("a"), root=tmp_path)
    plain.goto("/pipelines/create/")
    plain.fill("#name", "By hand")
    plain.fill("#stage-0-name", "first")
    plain.select_option("#stage-0-kind", "noop")
    plain.click("button[name=add]")
    plain.fill("#stage-1-name", "Wrong Name")
    expect(plain.get_by_role("group", name="Runs after").nth(1).get_by_label("first")).to_be_checked()
    plain.get_by_role("button", name="Save only").click()
    expect(plain.locator("#stage-1-name-errors")).to_contain_text("Small letters")
    plain.fill("#stage-1-name", "second")
    plain.click("button[value=start]")
    expect(plain.locator("#pipeline-status")).to_contain_text("Running")
    expect(plain.locator(".node")).to_have_count(2)
    plain.get_by_role("button", name="Pause").click()
    expect(plain.locator("#pipeline-status")).to_contain_text("Paused")
    plain.click("#pipeline-actions a.danger")
    plain.click("main button.solid-danger")
    expect(plain.locator("#pipeline-status")).to_contain_text("Cancelled")


def test_theme_and_language_are_remembered(plain: Page) -> None:
    plain.goto("/jobs/")
    plain.get_by_role("button", name="Dark").click()
    expect(plain.locator("html")).to_have_attribute("data-theme", "dark")
    plain.get_by_role("button", name="简体中文").click()
    expect(plain.locator("html")).to_have_attribute("lang", "zh-hans")
    plain.goto("/system/")
    expect(plain.locator("html")).to_have_attribute("data-theme", "dark")
    expect(plain.locator("html")).to_have_attribute("lang", "zh-hans")


def test_what_a_run_logged_and_said_is_told(plain: Page, tmp_path: Path) -> None:
    ended = world.run("completed", name="Done", root=tmp_path, steps=120)
    Stage.objects.filter(pk=ended.job.pk).update(result={"logs_tail": "\x1b[32mstep 119\x1b[0m\n 10%\r100%\n<saved>\n"})
    plain.goto(f"/jobs/{ended.job.pk}/")
    charts, log = plain.locator("#charts"), plain.locator("#log")
    expect(charts).to_contain_text("6 metrics, steps: 120")
    expect(charts).not_to_contain_text("logged no metrics")
    expect(log.locator("pre")).to_have_text("step 119\n100%\n<saved>")
    expect(log.get_by_text("There is no output.")).to_be_hidden()
    charts.get_by_role("link", name="Rows as logged").last.click()
    expect(plain.get_by_role("row")).to_have_count(51)

    running = world.run("running", name="On", root=tmp_path, steps=40)
    plain.goto(f"/jobs/{running.job.pk}/")
    expect(charts.locator("#last-values")).to_contain_text("train/loss")
    with plain.expect_download() as sent:
        charts.get_by_role("link", name="Download the log").click()
    assert sent.value.path().read_text().startswith("step:1 -")

    silent = world.run("failed", root=tmp_path, steps=0)
    plain.goto(f"/jobs/{silent.job.pk}/")
    expect(charts).to_contain_text("This run logged no metrics.")
