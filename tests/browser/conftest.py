"""A real Chromium looking at a real server: uvicorn with the platform's own application, in a thread of the tests.

Where there is no Chromium these tests are skipped, with that reason; where CI is set they fail instead.
"""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.test.utils import setup_databases, teardown_databases
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from platform_site import assets
from platform_site.common.roles import Role

from . import world

# Static files straight from the tree, without a collectstatic before.
settings.WHITENOISE_USE_FINDERS = True
settings.WHITENOISE_AUTOREFRESH = True

CHROMIUM: Final = next(
    (path for path in ("/usr/bin/chromium", shutil.which("chromium"), shutil.which("google-chrome")) if path and Path(path).exists()),
    None,
)


@dataclass
class Site:
    """The web process. `restart` cuts every connection, as a crash would."""

    port: int
    server: uvicorn.Server | None = None
    thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = uvicorn.Config(
            "platform_site.asgi:application", host="127.0.0.1", port=self.port, ws="websockets-sansio", lifespan="off",
            log_config=None, access_log=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < deadline, "the web server did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        if self.server is not None and self.thread is not None:
            self.server.should_exit = True
            self.thread.join(20)

    def restart(self) -> None:
        self.stop()
        self.start()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Playwright's synchronous interface keeps an event loop in this thread; nothing of ours runs in it."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        return (yield)
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if CHROMIUM is None:
        reason = "there is no Chromium on this machine (Debian: apt install chromium)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    # Its sandbox needs rights that containers do not give; the pages it loads are ours.
    started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield started
    started.close()


@pytest.fixture(scope="session")
def site(valkey_server: object) -> Iterator[Site]:
    assets.prepare()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Site(port)
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

Look = Callable[..., Seen]


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
            page = context.new_page()
            page.goto("/login/")
            page.fill("#id_username", name)
            page.fill("#id_password", world.PASSWORD)
            page.click("main button.primary")
            page.wait_for_url(f"{site.url}/")
            page.close()
        yield context
    finally:
        context.close()


def watched(context: BrowserContext) -> Seen:
    seen = Seen(context.new_page())
    seen.page.on("console", lambda m: seen.complaints.append(m.text) if m.type in ("error", "warning") else None)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    return seen


@pytest.fixture(scope="session")
def _test_database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """pytest-django makes the test database only when it sees tests that ask for one each; ours share one."""
    with django_db_blocker.unblock():
        there = "common_user" in connection.introspection.table_names()
        made = None if there else setup_databases(verbosity=0, interactive=False, aliases={"default"})
    yield
    if made is not None:
        with django_db_blocker.unblock():
            connections.close_all()
            teardown_databases(made, verbosity=0)


@pytest.fixture(scope="module")
def database(_test_database: None, django_db_blocker: Any) -> Iterator[None]:
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
        assert seen.complaints == []
