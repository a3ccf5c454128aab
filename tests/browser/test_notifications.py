"""The bell rings in open pages, the browser shows what nobody looks at, and is asked on a click alone."""

import pytest
from playwright.sync_api import Browser, Page

from notifications.models import Event
from notifications.services import reading
from notifications.services.events import note
from tests.notifications.made import failure, spread_all

from . import world
from .conftest import Site, signed_in, until, watched

# The browser's own window of notifications is none that a test can look into: what is asked of it is kept.
RECORD = """
window.asked = 0; window.shown = [];
class Recorded { constructor(title, options) { shown.push({title, ...options}); } close() {} }
Recorded.permission = sessionStorage.getItem("permission") ?? "default";
Recorded.requestPermission = async () => {
  asked += 1; Recorded.permission = "granted"; sessionStorage.setItem("permission", "granted"); return "granted";
};
window.Notification = Recorded;
"""
HIDE = "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"


@pytest.fixture(autouse=True)
def _nothing_told(database: None) -> None:
    Event.objects.all().delete()


def happen(number: int, about: str = "") -> None:
    note(failure(number, about=about or f"Pipeline {number}"))
    spread_all()


def unread(page: Page, many: int) -> None:
    until(page, f"document.getElementById('bell').dataset.unread === '{many}'")


def opened(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#bell")
    page.wait_for_timeout(600)  # the socket opens


@pytest.mark.parametrize("address", ["/recipes/", "/", "/tasks/"])
def test_the_bell_rings_on_any_page_and_says_so(page: Page, address: str) -> None:
    opened(page, address)
    happen(1)
    unread(page, 1)
    assert page.inner_text("#bell b") == "1"
    until(page, "document.getElementById('announce').textContent.includes('1 unread')")


def test_a_runs_own_socket_and_that_of_the_bell_do_not_disturb_each_other(page: Page, tmp_path: object) -> None:
    run = world.run("running", root=tmp_path, steps=20, target=40)  # type: ignore[arg-type]
    page.add_init_script("window.reloads = 0; addEventListener('reconnected', () => { reloads += 1; });")
    opened(page, f"/jobs/{run.job.pk}/")
    until(page, "document.documentElement.dataset.live === 'on'")
    happen(2)
    unread(page, 1)
    assert page.evaluate("reloads") == 0, "two sockets opened, none was lost"
    assert page.evaluate("document.documentElement.dataset.live") == "on"


def test_the_open_list_follows(page: Page) -> None:
    opened(page, "/notifications/")
    assert page.is_visible("text=Nothing to tell yet")
    happen(3, "Nightly")
    page.wait_for_selector("text=Stage train of Nightly failed")
    reading.read_all(world.person("alice"))
    page.wait_for_selector("text=All read")


def test_what_is_opened_from_the_list_is_read(page: Page) -> None:
    happen(4)
    Event.objects.update(link="/recipes/")
    opened(page, "/notifications/")
    page.click(".inbox-row .row-link")
    page.wait_for_url("**/recipes/")
    unread(page, 0)


def test_the_browser_is_asked_on_a_click_and_shows_what_comes_while_the_page_is_hidden(
    browser: Browser, site: Site, database: None
) -> None:
    happen(5, "Before")
    with signed_in(browser, site) as context:
        context.add_init_script(RECORD)
        seen = watched(context)
        page = seen.page
        opened(page, "/notifications/preferences/")
        assert page.evaluate("asked") == 0
        page.click("#browser-ask")
        page.wait_for_selector("text=This browser shows notifications.")
        assert page.evaluate("asked") == 1
        assert not page.is_visible("#browser-ask")
        opened(page, "/recipes/")
        happen(6, "Seen")
        unread(page, 2)
        page.wait_for_timeout(300)
        assert page.evaluate("shown") == [], "somebody looks"
        page.evaluate(HIDE)
        happen(7, "Hidden")
        until(page, "shown.length === 1")
        (shown,) = page.evaluate("shown")
        assert shown["title"] == "Stage train of Hidden failed"
        assert shown["body"] == "No room."
        happen(8, "Again")
        until(page, "shown.length === 2")
        assert seen.complaints == []


def test_two_hidden_pages_show_it_as_one(browser: Browser, site: Site, database: None) -> None:
    with signed_in(browser, site) as context:
        context.add_init_script(RECORD + "Recorded.permission = 'granted';")
        pages = [context.new_page() for _ in range(2)]
        for page in pages:
            opened(page, "/recipes/")
            page.evaluate(HIDE)
        happen(9, "Once")
        for page in pages:
            unread(page, 1)
            page.wait_for_timeout(400)
        # Should both ask at the same moment, the browser shows one: that is what tags are for.
        tags = [shown["tag"] for page in pages for shown in page.evaluate("shown")]
        assert len(tags) >= 1
        assert len(set(tags)) == 1


def test_without_permission_nothing_is_shown_and_nobody_is_asked(browser: Browser, site: Site, database: None) -> None:
    with signed_in(browser, site) as context:
        context.add_init_script(RECORD)
        page = context.new_page()
        opened(page, "/recipes/")
        page.evaluate(HIDE)
        happen(10)
        unread(page, 1)
        page.wait_for_timeout(300)
        assert (page.evaluate("shown"), page.evaluate("asked")) == ([], 0)
