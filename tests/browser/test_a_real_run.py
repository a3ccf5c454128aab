"""The whole way, on a platform of its own: sign in, press the one button, watch verl train, to the end."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Browser, expect

from .conftest import WATCH

pytestmark = [pytest.mark.training, pytest.mark.timeout(900)]

UP = Path(settings.BASE_DIR) / "bin" / "up"
TRAINING = Path(settings.BASE_DIR) / ".training" / "state.json"


@dataclass(frozen=True)
class Platform:
    url: str
    password: str


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if not TRAINING.exists() or '"ready"' not in TRAINING.read_text():
        pytest.skip("the training environment is not set up (bin/up does it)")
    data = tmp_path_factory.mktemp("a platform") / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANNEAL_", "DJANGO_"))}
    argv = [str(UP), "--no-demo", "--detach", "--port", str(port), "--data", str(data)]
    started = subprocess.run(argv, env=clean, capture_output=True, text=True, timeout=600, check=False)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield Platform(f"http://127.0.0.1:{port}", (data / "admin_password").read_text().strip())
    finally:
        subprocess.run([str(UP), "stop", "--data", str(data)], env=clean, capture_output=True, timeout=120, check=False)


def test_sign_in_start_the_run_and_watch_it_learn(browser: Browser, platform: Platform) -> None:
    context = browser.new_context(base_url=platform.url, viewport={"width": 1400, "height": 900})
    context.add_init_script(WATCH)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    page.goto("/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", platform.password)
    page.click("main button.primary")
    page.get_by_role("button", name="Start tiny-sft").click()
    page.wait_for_url("**/jobs/*-*/")
    page.evaluate("window.sameDocument = true; seen.shift = 0")

    status = page.locator("#job-status")
    seen_status, seen_steps, deadline = [], [], time.monotonic() + 600
    while "Completed" not in status.inner_text():
        assert time.monotonic() < deadline, f"still {status.inner_text()} after {seen_steps}"
        assert "Failed" not in status.inner_text(), page.locator("#job-notice").inner_text()
        now = status.inner_text().strip()
        step = page.locator("#job-progress b").first.inner_text()
        if now not in seen_status[-1:]:
            seen_status.append(now)
        if step.isdecimal() and step not in seen_steps[-1:]:
            seen_steps.append(step)
        page.wait_for_timeout(50)

    assert "Running" in seen_status
    assert len(seen_steps) >= 6, f"the page showed only the steps {seen_steps}"
    assert page.evaluate("window.sameDocument") is True, "the page was loaded again"
    assert page.evaluate("seen.csp") == []
    assert page.evaluate("seen.shift") <= 0.1

    metrics = page.locator("#job-metrics")
    expect(metrics).to_contain_text("train/loss")
    table = page.locator("metric-chart[name='train/loss'] details")
    table.locator("summary").click()
    # The rows are made when the browser says that it has opened.
    expect(table.locator("tbody td").first).to_be_visible()
    losses = [float(text) for text in table.locator("tbody td").all_text_contents()]
    assert len(losses) >= 12
    assert losses[0] < losses[-1] / 2, "the newest stands first, and the loss fell"
    expect(page.locator("[data-log-view] li").first).to_be_visible()
    expect(page.locator("#job-attempts")).to_contain_text("exit 0")
    page.goto("/")
    expect(page.get_by_role("row", name="Tiny SFT")).to_contain_text("Completed")
    assert complaints == []
    context.close()
