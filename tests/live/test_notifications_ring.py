"""The bell of open pages, live: each person's own, in their language, over the socket that is there already."""

import pytest

from notifications.models import Notification
from notifications.services import reading
from notifications.services.events import note
from notifications.services.spread import spread
from platform_site.common.models import User
from tests.notifications.made import failure

from .conftest import Lines, person


def happen(number: int) -> None:
    note(failure(number))
    while spread():
        pass


def test_a_page_gets_its_bell_on_connect_and_when_something_happens(lines: Lines, alice: User) -> None:
    page = lines.page("/ws/updates/?topics=jobs,notifications", alice)
    assert 'data-unread="0"' in page.until(lambda html: 'id="bell"' in html)[-1]
    happen(1)
    rung = page.until(lambda html: 'data-unread="1"' in html)[-1]
    assert '<hx-partial hx-target="#bell" hx-swap="outerMorph">' in rung
    assert 'data-title="Stage train of Pipeline 1 failed"' in rung
    reading.read_all(alice)
    assert "data-notice" not in page.until(lambda html: 'data-unread="0"' in html)[-1]


def test_a_program_hears_how_many_are_unread(lines: Lines, alice: User) -> None:
    line = lines.program("/ws/updates/?format=json&topics=notifications", alice)
    assert line.next() == {"type": "update", "topic": "notifications", "unread": 0}
    happen(1)
    assert line.next() == {"type": "update", "topic": "notifications", "unread": 1}


def test_what_one_person_reads_is_not_told_to_another(lines: Lines, alice: User) -> None:
    other = person("other")
    happen(1)
    line = lines.program("/ws/updates/?format=json&topics=notifications", other)
    line.next()
    found = Notification.objects.get(user=alice)
    reading.read(alice, found.pk)
    assert line.during(1.2) == []


def test_a_page_that_did_not_ask_gets_no_bell(lines: Lines, alice: User) -> None:
    page = lines.page("/ws/updates/?topics=jobs", alice)
    page.during(0.5)
    happen(1)
    assert not any("bell" in html for html in page.during(1.2))


@pytest.mark.parametrize(("language", "words"), [("en", "1 unread"), ("zh-hans", "1")])
def test_each_in_their_language(lines: Lines, alice: User, language: str, words: str) -> None:
    happen(1)
    page = lines.page("/ws/updates/?topics=notifications", alice, language=language)
    assert words in page.next()


def test_a_burst_is_a_few_fragments(lines: Lines, alice: User) -> None:
    page = lines.page("/ws/updates/?topics=notifications", alice)
    page.during(0.7)
    for number in range(30):
        happen(number)
    seen = page.until(lambda html: 'data-unread="30"' in html)
    assert len(seen) <= 12, "two a second at most"
