"""Each page, in both themes, at both widths, in both languages: accessible, quiet, within the strict policy."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext

from notifications.models import Notification, Target
from notifications.services import targets
from notifications.services.events import note_all
from pipelines.models import Attempt, Job, Stage
from pipelines.services.backtests import Asked, create, work
from pipelines.services.control import pause_pipeline
from pipelines.services.judging import judge
from platform_site.common.roles import Role
from platform_site.common.severity import Severity
from tests.notifications.made import anomaly, failure, spread_all
from tests.pages import rollout_runs as by_reward
from tests.pipelines import builders

from . import world
from .conftest import Seen, Site, signed_in, until, watched

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
LOOKS = [(width, language) for width in (360, 1400) for language in ("en", "zh-hans")]
FIRST_PAINT_MS = 1000


@dataclass(frozen=True)
class Runs:
    running: str
    failed: str
    completed: str
    queued: str
    pipeline: str
    broken: str
    unstarted: str
    wide: str
    failed_task: str
    answered: str
    unanswered: str
    sick: str
    finding: str
    target: str
    backtest: str
    backtest_under_way: str


@pytest.fixture(scope="module")
def runs(database: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root: Path = tmp_path_factory.mktemp("runs")
    error = "The trainer exited with code 1.\nMemoryError: no room for 2.00 GiB"
    made = {
        "completed": world.run("completed", name="Baseline", root=root),
        "failed": world.run("failed", name="Too fast", root=root, steps=40, error=error, overrides={"optim.lr": 0.01}),
        "cancelled": world.run("cancelled", root=root, steps=10),
        "queued": world.run("queued", root=root, steps=0, age=timedelta(seconds=5)),
        "starting": world.run("starting", root=root, steps=0, age=timedelta(seconds=5)),
        "running": world.run("running", name="A longer one", root=root, steps=120, age=timedelta(seconds=25)),
    }
    world.lease(made["running"], 0, 2)
    for n in range(26):
        world.run("completed", name=f"Sweep {n}", steps=0, root=root, age=timedelta(days=2))
    for status in ("pending", "cancelling"):
        Stage.objects.filter(pk=world.run("queued", steps=0, root=root).job.pk).update(status=status)
    fan = [world.noop("first"), *(world.noop(f"shard-{n}", "first", result={"rows": n}) for n in range(6))]
    whole = world.pipeline("Fan", *fan, world.noop("merge", *(f"shard-{n}" for n in range(6))), root=root)
    bad = world.noop("second", "first", result=world.LOST_LOOK_UP)
    broken = world.pipeline("Broken", world.noop("first"), bad, world.noop("third", "second"), root=root)
    unstarted = world.pipeline("Unstarted", *fan, root=root, start=False, description="For later")
    lanes = [f"lane-{n}" for n in range(70)]
    wide = world.pipeline("Wide", world.noop("first"), *(world.noop(lane, "first") for lane in lanes), root=root)
    Stage.objects.filter(pipeline=wide, name__in=lanes[:3]).update(status="failed")
    paused = world.pipeline("Paused", world.noop("a"), world.noop("b", "a"), root=root, work=False)
    pause_pipeline(paused.pk, user=world.person())
    task = Attempt.objects.get(stage__pipeline=broken, stage__name="second")
    made["running"].measure(range(1, 6))
    fields = {"address": "https://ray-head:8265", "root": "/mnt/shared", "python": "/opt/venv/bin/python"}
    builders.host("lab", kind="ray", checking_since=timezone.now(), **fields)
    for name, count in (("gpu-few", 3), ("gpu-many", 24), ("gpu-same", 0)):
        drifted(name, count)
    builders.host("gpu-new", kind="ssh", address="gpu-new.example.org", user="trainer")
    world.bare_host("gpu-bare", gpus=2)
    return Runs(
        *(f"/jobs/{made[name].job.pk}/" for name in ("running", "failed", "completed", "queued")),
        *(f"/pipelines/{pipeline.pk}/" for pipeline in (whole, broken, unstarted, wide)),
        f"/tasks/{task.pk}/",
        *rollouts(root),
        *diagnosed(root),
        told(),
        *backtests(),
    )


def drifted(name: str, count: int) -> None:
    """A host whose environment differs in so many packages, and in verl's files."""
    versions = [{"wanted": f"2.{n}.0", "found": "" if n % 3 == 2 else f"1.{n}.0"} for n in range(count)]
    checks = [{"name": f"some-package-{n}", "status": "error", "message": "", **one} for n, one in enumerate(versions)]
    message = "1 file(s) differ from the release, first verl/trainer/sft_trainer.py"
    checks += [{"name": "verl", "status": "error", "message": message}] if count else []
    checks.append({"name": "disk", "status": "warning", "message": "3.1 GB free, that is little"})
    environment = {"ok": not count, "kind": "cpu", "python": "/p", "torch_build": "cpu", "checks": checks, "wanted": ""}
    now = timezone.now()
    facts = {"cpus": 64, "memory": 1 << 38, "gpus": [], "training": {"torch": "2.13.0", "verl": "0.9.1"}}
    where = {"kind": "ssh", "address": f"{name}.example.org", "user": "trainer", "host_key": "ssh-ed25519 AAAA"}
    seen = {"facts": facts, "facts_at": now, "seen_at": now, "environment_at": now}
    builders.host(name, environment=environment, **where, **seen)


def told() -> str:
    """Notifications of all severities, read and unread, and addresses in all states; the page that removes one."""
    charlie = world.person("charlie", Role.ADMIN)
    note_all([anomaly(step, Severity(1 + step % 4), group=f"job:{step}", about=f"Sweep {step}") for step in range(40)])
    note_all([failure(n, args={"stage": "train", "reason": "MemoryError: no room\n" * 9}) for n in range(3)])
    done = {"status": "completed"}
    note_all(
        [failure(9, kind="pipeline_done", severity=Severity.INFO, args=done), *[anomaly(n) for n in range(50, 80)]]
    )
    spread_all()
    Notification.objects.filter(user=charlie, kind="stage_failed").update(read_at=timezone.now())
    made = [targets.add(charlie, name, "https://example.org/hook") for name in ("Team", "Loop", "Mail")]
    problem = {"code": "address", "detail": "127.0.0.1"}
    Target.objects.filter(pk=made[0].pk).update(sent_at=timezone.now())
    Target.objects.filter(pk=made[1].pk).update(problem=problem, problem_at=timezone.now(), lost=2)
    return f"/notifications/targets/{made[2].pk}/remove/"


def diagnosed(root: Path) -> Iterator[str]:
    """The page of a run with findings, and that of one that was started in answer to one of them."""
    sick = world.sick_run(root)
    finding = sick.job.stream.findings.get(rule="nan_inf", metric="train/loss")
    yield f"/jobs/{sick.job.pk}/"
    yield f"/jobs/{sick.job.pk}/rerun/?finding={finding.pk}"


def backtests() -> Iterator[str]:
    """One that is complete, over all that was made before, and one that nobody has begun with."""
    made = create(Asked(limits={"grad_spike": {"z": 2.0}}), world.person(), by_worker=False)
    assert work(made.pk)
    ended = Job.objects.filter(stage__status="completed", stream__last_step__gt=0)
    for job, word in zip(ended[:2], ("good", "bad"), strict=True):
        judge(job, word, world.person())
    yield f"/backtests/{made.pk}/"
    yield f"/backtests/{create(Asked(rules=['nan_inf']), world.person(), by_worker=False).pk}/"


def rollouts(root: Path) -> Iterator[str]:
    """The pages of a run with answers of two attempts, some of them in a bad way, and of one without any."""
    first = by_reward.run(root=root, name="By reward")
    by_reward.write(first, 1, [[1.0]]).unlink()
    path = by_reward.write(first, 2, [[0.0, 0.5, 1.0, "NaN"], [1.0, 1.0]], response="and so on " * 200)
    path.write_bytes(path.read_bytes() + b"garbage")
    by_reward.write(first, 3, [[0.25]])
    by_reward.look(first)
    second = by_reward.again(first, resumed_from=2)
    for step in (3, 4):
        by_reward.write(second, step, [[0.0, 1.0]] * 12)
    by_reward.look(second)
    yield f"/jobs/{first.job.pk}/rollouts/"
    yield f"/jobs/{by_reward.run(root=root).job.pk}/rollouts/"


PAGES = {
    "notifications": lambda runs: "/notifications/",
    "notifications, all, second page": lambda runs: "/notifications/?status=all&page=2",
    "notifications, no match": lambda runs: "/notifications/?kind=stall",
    "how one is told": lambda runs: "/notifications/preferences/",
    "an address is removed": lambda runs: runs.target,
    "dashboard": lambda runs: "/",
    "runs": lambda runs: "/jobs/",
    "runs, second page": lambda runs: "/jobs/?page=2",
    "runs, no match": lambda runs: "/jobs/?search=nothing-like-this",
    "a running run": lambda runs: runs.running,
    "a failed run": lambda runs: runs.failed,
    "a completed run": lambda runs: runs.completed,
    "a sick run": lambda runs: runs.sick,
    "run again in answer to a finding": lambda runs: runs.finding,
    "a queued run": lambda runs: runs.queued,
    "rows of a run": lambda runs: runs.running + "rows/",
    "rows of a run, columns chosen": lambda runs: runs.running + "rows/?names=train/loss&names=nowhere",
    "rows of a run, none there": lambda runs: runs.running + "rows/?from=900000",
    "rows of a run, a wrong address": lambda runs: runs.running + "rows/?from=x&attempt=9",
    "rows of a run that has none": lambda runs: runs.queued + "rows/",
    "rollouts": lambda runs: runs.answered,
    "rollouts in a bad way": lambda runs: runs.answered + "?step=2",
    "rollouts of an attempt": lambda runs: runs.answered + "?attempt=1&max=7",
    "rollouts, no match": lambda runs: runs.answered + "?min=7&max=x",
    "no rollouts yet": lambda runs: runs.unanswered,
    "new run": lambda runs: "/jobs/new/",
    "run again": lambda runs: runs.failed + "rerun/",
    "begin from a checkpoint": lambda runs: runs.completed + "rerun/?step=120",
    "runs side by side": lambda runs: (
        "/jobs/compare/?"
        + "&".join("job=" + page.split("/")[2] for page in (runs.completed, runs.failed, runs.running))
    ),
    "one run to compare with": lambda runs: "/jobs/compare/?job=" + runs.completed.split("/")[2],
    "cancel": lambda runs: runs.running + "cancel/",
    "back-tests": lambda runs: "/backtests/",
    "a back-test": lambda runs: runs.backtest,
    "a back-test under way": lambda runs: runs.backtest_under_way,
    "new back-test": lambda runs: "/backtests/new/",
    "delete a back-test": lambda runs: runs.backtest + "delete/",
    "pipelines": lambda runs: "/pipelines/",
    "pipelines, no match": lambda runs: "/pipelines/?search=nothing-like-this",
    "a completed pipeline": lambda runs: runs.pipeline,
    "a failed pipeline": lambda runs: runs.broken,
    "a pipeline not started": lambda runs: runs.unstarted + "?stage=shard-2",
    "a pipeline of many stages": lambda runs: runs.wide,
    "many stages that are one node": lambda runs: runs.wide + "?fold=lane-0&state=failed",
    "many stages, no match": lambda runs: runs.wide + "?search=nobody",
    "new pipeline": lambda runs: "/pipelines/create/",
    "copy of a pipeline": lambda runs: "/pipelines/create/?from=" + runs.pipeline.split("/")[2],
    "cancel a pipeline": lambda runs: runs.pipeline + "cancel/",
    "delete a pipeline": lambda runs: runs.pipeline + "delete/",
    "retry a stage": lambda runs: runs.broken + "stages/second/retry/",
    "cancel a stage": lambda runs: runs.unstarted + "stages/first/cancel/",
    "tasks": lambda runs: "/tasks/",
    "tasks, no match": lambda runs: "/tasks/?state=starting&queue=maintenance",
    "a failed task": lambda runs: runs.failed_task,
    "cancel a task": lambda runs: runs.failed_task + "cancel/",
    "hosts": lambda runs: "/hosts/",
    "a host": lambda runs: "/hosts/local/",
    "a host to be set up": lambda runs: "/hosts/gpu-bare/",
    "a host that differs": lambda runs: "/hosts/gpu-few/",
    "a cluster that is being checked": lambda runs: "/hosts/lab/",
    "new host": lambda runs: "/hosts/new/",
    "new Ray cluster": lambda runs: "/hosts/new/?kind=ray",
    "edit a host": lambda runs: "/hosts/local/edit/",
    "recipes": lambda runs: "/recipes/",
    "a recipe": lambda runs: "/recipes/tiny-sft/",
    "a recipe worth a look": lambda runs: "/recipes/smollm2-sft/",
    "a recipe of a run": lambda runs: "/recipes/new/?job=" + runs.completed.split("/")[2],
    "import a command": lambda runs: "/recipes/import/",
    "datasets": lambda runs: "/datasets/",
    "a dataset": lambda runs: "/datasets/arithmetic/",
    "system": lambda runs: "/system/",
    "not found": lambda runs: "/nothing/here/",
}


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: "-".join(map(str, look)))
def look(request: pytest.FixtureRequest, browser: Browser, site: Site, runs: Runs) -> Iterator[Seen]:
    """As an administrator, who sees every page, and the most on each."""
    width, language = request.param
    world.person("charlie", Role.ADMIN)
    with signed_in(browser, site, name="charlie", width=width, language=language, reduced_motion="reduce") as context:
        yield watched(context)


@pytest.fixture(scope="module")
def operator(browser: Browser, site: Site, runs: Runs) -> Iterator[BrowserContext]:
    with signed_in(browser, site) as context:
        yield context


def violations(page: Any) -> list[str]:
    """In the light, by all rules; in the dark, by those that colours can break: the mark-up is the same."""
    page.evaluate("document.documentElement.dataset.theme = 'dark'; dispatchEvent(new Event('themechange'))")
    in_the_dark = _violations(page, {"type": "rule", "values": ["color-contrast", "link-in-text-block"]})
    page.evaluate("document.documentElement.dataset.theme = 'light'; dispatchEvent(new Event('themechange'))")
    return in_the_dark + _violations(page, {"type": "tag", "values": RULES})


def _violations(page: Any, run_only: dict[str, Any]) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    found = page.evaluate("(options) => axe.run(options)", {"runOnly": run_only, "resultTypes": ["violations"]})
    return [
        f"{v['id']}: {v['help']}: " + "; ".join(node["html"][:160] for node in v["nodes"][:3])
        for v in found["violations"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible_and_quiet(look: Seen, runs: Runs, name: str) -> None:
    page = look.page
    look.complaints.clear()
    page.goto(PAGES[name](runs))
    page.wait_for_load_state("networkidle")
    if name in ("a running run", "a completed run"):
        page.wait_for_selector("metric-chart canvas")

    assert violations(page) == []
    # The browser itself reports the 404 that the page is about.
    assert [c for c in look.complaints if not (name == "not found" and "404" in c)] == []
    assert page.evaluate("seen.csp") == []
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide <= 0, "the page scrolls sideways"


@pytest.mark.parametrize("look", [LOOKS[0], LOOKS[-1]], indirect=True, ids=["phone", "wide"])
def test_dialogs_and_menus_are_accessible(look: Seen, runs: Runs) -> None:
    page = look.page
    page.goto(runs.running)
    page.wait_for_selector("metric-chart canvas")
    # The chart's first: on a phone the open chooser lies over it.
    page.locator("metric-chart details summary").first.click()
    page.click("details.chooser > summary")
    page.locator("[data-preset]").first.wait_for()
    assert violations(page) == []
    page.click("details.more > summary")
    assert violations(page) == []
    page.click("details.more > summary")
    page.click("[data-play]")
    page.locator("#playback-position", has_text="120").wait_for()
    assert violations(page) == []
    page.click("[data-stop]")
    page.locator("#job-actions a.danger").click()
    page.wait_for_selector("#cancel-dialog[open]")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    assert violations(page) == []


@pytest.mark.parametrize("look", [LOOKS[0], LOOKS[-1]], indirect=True, ids=["phone", "wide"])
def test_the_dialogs_of_a_pipeline_and_a_refused_form_are_accessible(look: Seen, runs: Runs) -> None:
    page = look.page
    page.goto(runs.broken)
    page.click("#history summary")
    page.locator("#pipeline-actions a.danger").click()
    page.wait_for_selector("#delete-dialog[open]")
    assert violations(page) == []
    page.goto("/pipelines/create/")
    page.click("button[value=start]")
    page.wait_for_selector("[aria-invalid=true]")
    page.click("details.more summary")
    assert violations(page) == []


def test_sign_in_page_is_accessible(browser: Browser, site: Site, database: None) -> None:
    for width, language in LOOKS:
        with signed_in(browser, site, name="", width=width, language=language) as context:
            seen = watched(context)
            seen.page.goto("/login/")
            assert violations(seen.page) == []
            assert seen.complaints == []


def test_signing_in_leads_to_the_dashboard(browser: Browser, site: Site, database: None) -> None:
    with signed_in(browser, site, name="") as context:
        page = context.new_page()
        page.goto("/login/")
        page.fill("#id_username", "alice")
        page.fill("#id_password", world.PASSWORD)
        page.click("main button.primary")
        page.wait_for_url(f"{site.url}/")


def test_a_planted_defect_is_found(browser: Browser, site: Site, runs: Runs) -> None:
    with signed_in(browser, site) as context:
        seen = watched(context)
        seen.page.goto("/jobs/")
        seen.page.evaluate("document.querySelector('[data-search]').removeAttribute('aria-label')")
        seen.page.evaluate("document.querySelector('[data-search]').removeAttribute('placeholder')")
        seen.page.evaluate(
            "document.querySelector('main').append(Object.assign(new Image(), {src: '/static/img/mark.svg'}))"
        )
        seen.page.evaluate(
            "document.querySelector('main h1').style.color = 'light-dark(rgb(27, 31, 36), rgb(34, 34, 34))'"
        )
        found = " ".join(violations(seen.page))
        assert "color-contrast" in found, "seen in the dark alone"
        assert "image-alt" in found
        assert "label" in found
        seen.page.evaluate(
            "document.querySelector('main').insertAdjacentHTML('beforeend', '<p style=\"color:red\">x</p>')"
        )
        until(seen.page, "seen.csp.length > 0")


@pytest.mark.parametrize("name", PAGES)
def test_html_keeps_to_the_policy(operator: BrowserContext, runs: Runs, name: str) -> None:
    """As it comes from the server: scripts may set styles afterwards, the mark-up may not hold any."""
    html = operator.request.get(PAGES[name](runs)).text()
    assert re.findall(r"<[^>]+\sstyle\s*=", html) == []
    assert re.findall(r"<[^>]+\son[a-z]+\s*=", html) == []
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []
    assert re.findall(r"""(?:href|src|action)\s*=\s*["']?(?:https?:)?//""", html) == []
    # Every status: a drawing and a word.
    pills = re.findall(
        r'<span class="status[^"]*"[^>]*>(.*?)</span></span>|<span class="status[^"]*"[^>]*>(.*?</span>)', html
    )
    assert all("<use href=" in "".join(p) for p in pills)


def test_a_run_is_painted_within_a_second(browser: Browser, site: Site, runs: Runs) -> None:
    with signed_in(browser, site) as context:
        seen = watched(context)
        seen.page.goto(runs.completed)
        seen.page.wait_for_selector("metric-chart canvas")
        times = []
        for _ in range(3):
            seen.page.reload()
            seen.page.wait_for_selector("metric-chart canvas")
            times.append(seen.page.evaluate("seen.lcp"))
        # The best of three: what else the machine does only adds to it.
        assert min(times) <= FIRST_PAINT_MS
        assert seen.page.evaluate("seen.shift") <= 0.1
