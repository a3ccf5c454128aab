"""What a run does shows on its open page: points, progress, status; nothing is lost, doubled or torn away."""

import time
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, Route, expect

from environments.messages import announce
from environments.models import Host
from pipelines.models import Pipeline, Stage
from pipelines.states import StageEvent
from pipelines.transitions import move_stage
from platform_site.common.roles import Role

from . import world
from .conftest import Site, signed_in, until, watched

STEPS = "document.querySelector('metric-chart[name=\"train/loss\"] .chart-area')?.ariaValueMax"


def open_run(page: Page, run: world.Run) -> None:
    page.goto(f"/jobs/{run.job.pk}/")
    until(page, f"{STEPS} === '{run.job.stream.last_step}'")
    until(page, "document.documentElement.dataset.live === 'on'")


def grow(run: world.Run, steps: range) -> None:
    assert run.attempt.started_at is not None
    run.write(steps, started=run.attempt.started_at, spacing_s=0.2)
    run.sync()


def rows_of(page: Page) -> list[str]:
    details = page.locator("metric-chart[name='train/loss'] details")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    # The rows are made when the browser says that it has opened.
    expect(details.locator("tbody th").first).to_be_visible()
    return details.locator("tbody th").all_text_contents()


def test_the_curve_grows_and_the_status_changes_without_a_reload(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=20, age=timedelta(seconds=10))
    open_run(page, run)
    page.evaluate("window.sameDocument = true")
    for last in range(21, 31):
        grow(run, range(last, last + 1))
    until(page, f"{STEPS} === '30'")
    expect(page.locator("#job-progress")).to_contain_text("30")
    assert move_stage(run.job.stage_id, StageEvent.COMPLETE, actor="test") is not None
    expect(page.locator("#job-status")).to_contain_text("Completed")
    expect(page.locator("#announce")).to_have_text("Completed")
    expect(page.locator("#job-actions a.danger")).to_have_count(0)
    assert page.evaluate("window.sameDocument") is True
    assert rows_of(page) == [str(step) for step in range(30, 0, -1)]


def test_a_metric_that_appears_later_can_be_chosen(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=10, age=timedelta(seconds=5))
    open_run(page, run)
    page.click("details.chooser > summary")
    late = page.get_by_role("checkbox", name="val/loss")
    expect(late).to_have_count(0)
    # Whoever chose keeps the choice: what comes later only becomes available.
    page.get_by_role("checkbox", name="train/lr").uncheck()
    grow(run, range(11, 21))
    expect(late).not_to_be_checked()
    late.check()
    expect(page.locator("metric-chart[name='val/loss'] .chart-read")).to_contain_text("20")
    page.reload()
    expect(page.locator("metric-chart[name='val/loss'] .chart-read")).to_contain_text("20")


def test_after_a_restart_of_the_server_nothing_is_doubled(
    browser: Browser, site: Site, database: None, tmp_path: Path
) -> None:
    run = world.run("running", root=tmp_path, steps=20, age=timedelta(seconds=10))
    with signed_in(browser, site) as context:
        page = watched(context).page
        open_run(page, run)
        site.stop()
        until(page, "document.documentElement.dataset.live === 'off'", 30)
        grow(run, range(21, 41))
        site.start()
        until(page, "document.documentElement.dataset.live === 'on'", 60)
        until(page, f"{STEPS} === '40'", 30)
        grow(run, range(41, 46))
        until(page, f"{STEPS} === '45'", 30)
        assert rows_of(page) == [str(step) for step in range(45, 0, -1)]


def test_updates_keep_focus_scroll_selection_and_what_is_open(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=20, age=timedelta(seconds=10))
    open_run(page, run)
    details = page.locator("metric-chart").first.locator("details")
    details.locator("summary").click()
    page.fill("[data-log-search]", "loss")
    page.evaluate("document.querySelector('[data-log-search]').setSelectionRange(1, 3); scrollTo(0, 200)")
    before = page.evaluate("scrollY")
    page.evaluate("seen.shift = 0")
    for last in range(21, 41):
        grow(run, range(last, last + 1))
        time.sleep(0.05)
    until(page, f"{STEPS} === '40'")
    expect(page.locator("[data-log-search]")).to_be_focused()
    assert page.evaluate("[document.activeElement.selectionStart, document.activeElement.selectionEnd]") == [1, 3]
    assert page.evaluate("scrollY") == before
    assert details.get_attribute("open") is not None
    assert page.evaluate("seen.shift") <= 0.1


def test_lists_follow_and_take_in_new_runs(page: Page, tmp_path: Path) -> None:
    run = world.run("running", name="Listed", root=tmp_path, steps=20, age=timedelta(seconds=10))
    page.goto("/jobs/")
    until(page, "document.documentElement.dataset.live === 'on'")
    move_stage(run.job.stage_id, StageEvent.COMPLETE, actor="test")
    expect(page.get_by_role("row", name="Listed")).to_contain_text("Completed")
    new = world.run("queued", name="Came later", root=tmp_path, steps=0, age=timedelta(seconds=1))
    Stage.objects.filter(pk=new.job.pk).update(status="queued")
    move_stage(new.job.stage_id, StageEvent.DISPATCH, actor="test")
    expect(page.get_by_role("row", name="Came later")).to_contain_text("Starting")
    assert Pipeline.objects.count() == page.locator("tbody tr").count() or page.locator("tbody tr").count() == 25


def test_the_log_follows_and_pauses_when_scrolled(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=200, age=timedelta(seconds=60))
    open_run(page, run)
    log = page.locator("[data-log-view]")
    expect(log.locator("li").last).to_contain_text("step:200")
    run.say("the newest line\n")
    expect(log.locator("li").last).to_contain_text("the newest line")
    at_end = "v => v.scrollHeight - v.scrollTop - v.clientHeight < 24"
    assert log.evaluate(at_end)
    log.evaluate("v => v.scrollTop = 0")
    expect(page.get_by_label("Follow")).not_to_be_checked()
    run.say("one more\n")
    expect(log.locator("li").last).to_contain_text("one more")
    assert log.evaluate("v => v.scrollTop") == 0
    page.get_by_label("Follow").check()
    assert log.evaluate(at_end)
    page.fill("[data-log-search]", "step:17 ")
    expect(page.locator("[data-log-hits]")).to_have_text("1 of 1")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    text = Path(download.value.path()).read_text()
    assert text.endswith("one more\n")
    assert text.startswith("step:1 ")


def test_a_window_of_another_size_is_nobody_who_scrolls(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=100, age=timedelta(seconds=60))
    run.say("".join(f"{n}: {'one line that is broken where the window is narrow ' * 6}\n" for n in range(200)))
    open_run(page, run)
    log, follow = page.locator("[data-log-view]"), page.get_by_label("Follow")
    expect(log.locator("li").last).to_contain_text("199: ")
    at_end = "v => v.scrollHeight - v.scrollTop - v.clientHeight < 24"
    for width, height in ((1000, 900), (500, 900), (360, 500), (1400, 900), (700, 900)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(200)
        expect(follow).to_be_checked()
        assert log.evaluate(at_end), width
    run.say("the newest line\n")
    expect(log.locator("li").last).to_contain_text("the newest line")
    assert log.evaluate(at_end)
    log.evaluate("v => v.scrollTop = 400")
    expect(follow).not_to_be_checked()
    for width in (360, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        expect(follow).not_to_be_checked()
    log.evaluate("v => v.scrollTop = v.scrollHeight")
    expect(follow).to_be_checked()


def test_a_log_that_cannot_be_read_says_why_and_comes_back(
    browser: Browser, site: Site, database: None, tmp_path: Path
) -> None:
    run = world.run("running", root=tmp_path, steps=5, age=timedelta(seconds=10))

    def away(route: Route) -> None:
        route.fulfill(status=503, json={"error": {"code": "unavailable", "message": "lab does not answer."}})

    with signed_in(browser, site) as context:
        page = watched(context).page
        page.route("**/log/?*", away)
        page.goto(f"/jobs/{run.job.pk}/")
        log = page.locator("[data-log-view]")
        expect(log).to_have_text("lab does not answer. The log could not be read. The page tries again.")
        page.unroute("**/log/?*")
        page.evaluate("dispatchEvent(new Event('reconnected'))")
        expect(log.locator("li").first).to_be_visible()
        expect(log).not_to_contain_text("could not be read")


def test_the_socket_opens_on_every_load(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=5, age=timedelta(seconds=10))
    opened = 0
    for _ in range(40):
        page.goto(f"/jobs/{run.job.pk}/")
        until(page, "document.documentElement.dataset.live === 'on'", 5)
        opened += 1
    assert opened == 40


def test_six_charts_take_a_point_in_20_ms_of_the_processor(page: Page, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=200, age=timedelta(seconds=60))
    open_run(page, run)
    page.click("details.chooser > summary")
    for name in world.metrics(20):
        page.get_by_role("checkbox", name=name, exact=True).check()
    expect(page.locator("metric-chart canvas")).to_have_count(6)
    chromium = page.context.new_cdp_session(page)
    # The time that the page's thread ran, not the time that passed: what else the machine does is not measured.
    chromium.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent_s() -> float:
        figures = chromium.send("Performance.getMetrics")["metrics"]
        return next(float(figure["value"]) for figure in figures if figure["name"] == "TaskDuration")

    before = spent_s()
    drawn = page.evaluate(
        """async () => {
          const names = [...document.querySelectorAll('metric-chart')].map((c) => c.getAttribute('name'));
          for (let step = 1000; step < 1100; step += 1) {
            const points = Object.fromEntries(names.map((name) => [name, [[step, Math.random()]]]));
            dispatchEvent(new CustomEvent('points', { detail: { points, cursor: 0 } }));
            // The charts draw in the frame's callbacks.
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          }
          return names.length;
        }"""
    )
    assert drawn == 6
    assert (spent_s() - before) / 100 <= 0.020


def test_what_was_chosen_for_a_set_up_outlives_a_change_of_its_host(
    browser: Browser, site: Site, database: None
) -> None:
    host = world.bare_host("gpu-bare", gpus=2)
    world.person("charlie", Role.ADMIN)
    with signed_in(browser, site, name="charlie") as context:
        seen = context.new_page()
        seen.goto("/hosts/gpu-bare/")
        until(seen, "document.documentElement.dataset.live === 'on'")
        packages = seen.get_by_label("Packages")
        assert packages.locator("option").first.text_content() == "Automatic: CUDA"
        packages.select_option("cpu")
        Host.objects.filter(pk=host.pk).update(labels=["fast"])
        announce(host)
        expect(seen.locator("aside .tag")).to_have_text("fast")
        expect(packages).to_have_value("cpu")
        seen.get_by_role("button", name="Set up").click()
        seen.wait_for_url("**/pipelines/**")
    assert Stage.objects.get(host=host).params == {"host": "gpu-bare", "packages": "cpu"}
