"""A real Chromium looking at a real server: the platform's own web process.

Where there is no Chromium these tests are skipped, with that reason; where CI is set they fail instead.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from platform_site import assets, translations
from platform_site.common.models import User
from platform_site.common.roles import Role
from tests import people

from . import world

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Site:
    """The web process. `restart` cuts every connection, as a crash would."""

    port: int
    database: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = [sys.executable, "-m", "tests.browser.server", str(self.port), self.database]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, cwd=settings.BASE_DIR, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                if httpx.get(f"{self.url}/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, "the web server did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if CHROMIUM is None:
        reason = "there is no Chromium on this machine (Debian: apt install chromium)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with sync_playwright() as started:
        # Its synchronous interface keeps an event loop in this thread, and Django would refuse to work beside one.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
        yield started
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    # Its sandbox needs rights that containers do not give; the pages it loads are ours.
    started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield started
    started.close()


@pytest.fixture(scope="session")
def site(valkey_server: object, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assets.prepare()
    translations.compile_all(settings.BASE_DIR / "locale")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Site(port, str(connection.settings_dict["NAME"]), tmp_path_factory.mktemp("web") / "web.log")
    running.start()
    yield running
    running.stop()


@dataclass
class Seen:
    """A page, and what it complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)


WATCH: Final = """
window.seen = {csp: [], shift: 0, lcp: 0};
addEventListener('securitypolicyviolation', (e) => seen.csp.push(`${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
new PerformanceObserver((list) => { for (const e of list.getEntries()) if (!e.hadRecentInput) seen.shift += e.value; })
  .observe({type: 'layout-shift', buffered: true});
new PerformanceObserver((list) => { for (const e of list.getEntries()) seen.lcp = e.startTime; })
  .observe({type: 'largest-contentful-paint', buffered: true});
"""


def session(name: str) -> str:
    """A session of somebody's, as the sign-in page makes it, which has a test of its own."""
    client = Client()
    client.force_login(User.objects.get(username=name), backend=people.BACKEND)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@contextmanager
def signed_in(browser: Browser, site: Site, name: str = "alice", **options: Any) -> Iterator[BrowserContext]:
    """A visitor's browser. `theme`, `language` and `width`, or anything that Playwright's contexts take."""
    theme, language = options.pop("theme", "light"), options.pop("language", "en")
    width = options.pop("width", 1400)
    options.setdefault("viewport", {"width": width, "height": 900 if width > 500 else 780})
    context = browser.new_context(base_url=site.url, color_scheme=theme, **options)
    context.add_cookies(
        [
            {"name": "theme", "value": theme, "url": site.url},
            {"name": "django_language", "value": language, "url": site.url},
        ]
    )
    context.add_init_script(WATCH)
    try:
        if name:
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session(name), "url": site.url}])
        yield context
    finally:
        context.close()


def until(page: Page, condition: str, timeout_s: float = 10) -> None:
    """Playwright's own `wait_for_function` evaluates text in the page, which the policy forbids."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never true: {condition}"
        page.wait_for_timeout(20)


def watched(context: BrowserContext) -> Seen:
    seen = Seen(context.new_page())
    seen.page.on("console", lambda m: seen.complaints.append(m.text) if m.type in ("error", "warning") else None)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    return seen


@pytest.fixture(scope="module")
def database(django_db_setup: None, playwright: Playwright, django_db_blocker: Any) -> Iterator[None]:
    """One database for the tests of a module: the server's threads use it all the while."""
    with django_db_blocker.unblock():
        world.person("alice", Role.OPERATOR)
        yield
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def page(browser: Browser, site: Site, database: None) -> Iterator[Page]:
    """Signed in as an operator, at a wide window; fails when the page complained in the console."""
    with signed_in(browser, site) as context:
        seen = watched(context)
        yield seen.page
        # A refused form is answered with 422, which the browser mentions by itself.
        assert [said for said in seen.complaints if "status of 422" not in said] == []
