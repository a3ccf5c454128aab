"""The bell, the list, and how one is told: without script too."""

import ipaddress
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from notifications.models import Notification, Target
from notifications.services import preferences, targets
from notifications.services.events import note_all
from platform_site.common.models import User
from platform_site.common.severity import Severity
from tests import people
from tests.notifications.made import anomaly, failure, spread_all
from tests.notifications.servers import Web

pytestmark = pytest.mark.django_db
SECRET = "hunter2secret"


@pytest.fixture
def alice() -> User:
    return people.alice()


@pytest.fixture
def client(alice: User) -> Client:
    return people.browser(alice)


@pytest.fixture(autouse=True)
def _loopback(settings: Settings) -> None:
    settings.NOTIFY_NETWORKS = [ipaddress.ip_network("127.0.0.1/32")]


def page(client: Client, address: str = "/notifications/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def bell(html: str) -> str:
    found = re.search(r'<a id="bell".*?</a>', html, re.S)
    assert found is not None
    return found[0]


def test_the_bell_counts_on_every_page_what_is_unread(client: Client) -> None:
    assert 'data-unread="0"' in bell(page(client, "/recipes/"))
    note_all([failure(number) for number in range(3)])
    spread_all()
    for address in ("/", "/recipes/", "/hosts/", "/notifications/"):
        html = page(client, address)
        assert 'data-unread="3"' in bell(html)
        assert "Notifications: 3 unread" in bell(html)
        assert html.count("hx-ws:connect") == 1
        assert "notifications" in re.findall(r'hx-ws:connect="/ws/updates/\?topics=([^"]*)"', html)[0].split(",")


def test_the_bell_holds_what_the_browser_is_to_show_and_nothing_else(client: Client, alice: User) -> None:
    preferences.keep(alice, channels={"browser": {"kinds": ["stage_failed"]}})
    note_all([anomaly(1, Severity.CRITICAL)])
    spread_all()
    assert "data-notice" not in bell(page(client))
    note_all([failure(1, about='<b>"x"')])
    spread_all()
    html = bell(page(client))
    assert 'data-title="Stage train of &lt;b&gt;&quot;x&quot; failed"' in html


def test_a_person_without_a_role_and_a_stranger_have_no_bell() -> None:
    assert 'id="bell"' not in Client().get("/login/").content.decode()
    assert 'id="bell"' not in people.browser(people.dora()).get("/").content.decode()


def test_nothing_yet_differs_from_all_read_and_from_no_match(client: Client) -> None:
    assert "Nothing to tell yet" in page(client)
    note_all([failure(1)])
    spread_all()
    assert "No notification matches" in page(client, "/notifications/?kind=stall")
    client.post("/notifications/read-all/")
    assert "All read" in page(client)
    assert "Stage train of Pipeline 1 failed" in page(client, "/notifications/?status=all")


def test_the_list_is_by_object_with_the_newest_first(client: Client) -> None:
    note_all([failure(1, group="job:1", about="Tiny"), failure(2), anomaly(3)])
    spread_all()
    html = page(client)
    headings = re.findall(r'class="inbox-about">([^<]*)<', html)
    assert sorted(headings) == ["Pipeline 2", "Tiny"], "one heading for both of Tiny"
    assert html.count('class="inbox-row"') == 3


def test_marking_needs_no_script_and_leads_back(client: Client, alice: User) -> None:
    note_all([failure(1), failure(2)])
    spread_all()
    one = Notification.objects.filter(user=alice).first()
    assert one is not None
    answer = client.post(f"/notifications/{one.pk}/read/", {"next": "/notifications/?status=all"})
    assert answer.headers["Location"] == "/notifications/?status=all"
    assert Notification.objects.filter(user=alice, read_at=None).count() == 1
    answer = client.post("/notifications/read-all/", {"next": "https://evil.example/"})
    assert answer.headers["Location"] == "/notifications/"
    assert not Notification.objects.filter(user=alice, read_at=None).exists()


@pytest.mark.parametrize(
    "word", ["nan", "notifications", "jobs/", "//evil.example/", "javascript:x", "/\\\\evil.example"]
)
def test_a_way_back_that_is_no_path_of_this_site_leads_to_the_list(client: Client, word: str) -> None:
    answer = client.post("/notifications/read-all/", {"next": word})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/notifications/")


def test_somebody_elses_is_not_there(client: Client) -> None:
    bob = people.bob()
    note_all([failure(1)])
    spread_all()
    theirs = Notification.objects.get(user=bob)
    assert client.post(f"/notifications/{theirs.pk}/read/").status_code == 404
    target = targets.add(bob, "team", "json://example.org")
    assert client.get(f"/notifications/targets/{target.pk}/remove/").status_code == 404
    assert client.post(f"/notifications/targets/{target.pk}/test/").status_code == 404


def test_the_list_costs_the_same_for_many_as_for_few(client: Client) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as asked:
            page(client)
        return len(asked)

    note_all([failure(1)])
    spread_all()
    cost()
    few = cost()
    note_all([failure(number) for number in range(2, 28)])
    spread_all()
    assert cost() == few


def test_hostile_words_are_words(client: Client) -> None:
    note_all([failure(1, about="<script>x</script>", args={"stage": "<i>", "reason": "<img src=x onerror=y>"})])
    spread_all()
    html = page(client)
    assert "<script>x" not in html
    assert "<img src=x" not in html


def test_what_is_told_where_is_chosen_by_boxes(client: Client, alice: User) -> None:
    html = page(client, "/notifications/preferences/")
    assert html.count('type="checkbox" name="page"') == 6, "a viewer hears nothing of the integrity check"
    sent = {"page": ["anomaly"], "email": ["stage_failed", "stall"], "page-from": "error", "mine_only": "on"}
    answer = client.post("/notifications/preferences/", {**sent, "language": "zh-hans", "webhook-from": "nonsense"})
    assert answer.status_code == 302
    wishes = preferences.wishes_for(alice)
    assert "anomaly" not in wishes.channels["page"].off
    assert {"stage_failed", "stall", "pipeline_done"} <= wishes.channels["page"].off
    assert wishes.channels["page"].least == Severity.ERROR
    assert wishes.channels["webhook"].least == Severity.WARNING
    assert (wishes.mine_only, wishes.language) == (True, "zh-hans")
    assert "integrity" not in wishes.channels["page"].off, "what the form did not show stays"


def test_an_address_is_added_tried_and_removed_and_never_shown(client: Client) -> None:
    with Web() as web:
        answer = client.post("/notifications/targets/", {"name": "team", "url": f"{web.url()}/{SECRET}"}, follow=True)
        assert "team was added" in answer.content.decode()
        target = Target.objects.get()
        tried = client.post(f"/notifications/targets/{target.pk}/test/", follow=True).content.decode()
        assert "team took the test message" in tried
        web.status = 401
        Target.objects.update(tested_at=None)
        refused = client.post(f"/notifications/targets/{target.pk}/test/", follow=True).content.decode()
    assert "it answered 401" in refused
    for html in (answer.content.decode(), tried, refused):
        assert SECRET not in html
    assert "team" in page(client, f"/notifications/targets/{target.pk}/remove/")
    client.post(f"/notifications/targets/{target.pk}/remove/")
    assert not Target.objects.exists()


def test_an_address_is_tried_when_it_is_added_and_its_problem_stands_beside_it(client: Client) -> None:
    assert '<input type="checkbox" name="test" checked>' in page(client, "/notifications/preferences/")
    with Web() as web:
        asked = {"name": "team", "url": f"{web.url()}/{SECRET}", "test": "on"}
        answer = client.post("/notifications/targets/", asked, follow=True).content.decode()
        assert "team was added, and took the test message." in answer
        gone = web.url()
    answer = client.post("/notifications/targets/", {"name": "away", "url": gone, "test": "on"}, follow=True)
    html = answer.content.decode()
    assert "away was added, but the test message did not arrive: The server cannot be reached" in html
    assert "Last problem: The server cannot be reached" in page(client, "/notifications/preferences/")
    assert Target.objects.count() == 2


def test_a_wrong_address_is_told_at_its_field_and_not_given_back(client: Client) -> None:
    answer = client.post("/notifications/targets/", {"name": "team", "url": f"exec://{SECRET}"})
    assert client.get("/notifications/targets/").headers["Location"] == "/notifications/preferences/"
    html = answer.content.decode()
    assert answer.status_code == 422
    assert 'id="target-url-error"' in html
    assert 'value="team"' in html
    assert SECRET not in html


def test_the_admin_shows_that_there_is_an_address_and_can_take_it_away(alice: User) -> None:
    target = targets.add(alice, "team", f"json://example.org/{SECRET}")
    admin = people.browser(people.charlie())
    html = page(admin, f"/admin/notifications/target/{target.pk}/change/")
    assert SECRET not in html
    assert target.secret not in html
    note_all([failure(1)])
    spread_all()
    for model in ("event", "notification", "target", "preference", "delivery"):
        assert SECRET not in page(admin, f"/admin/notifications/{model}/")
    admin.post(f"/admin/notifications/target/{target.pk}/delete/", {"post": "yes"})
    assert not Target.objects.exists()


def test_a_person_is_deleted_with_all_that_they_were_told(alice: User) -> None:
    targets.add(alice, "team", "json://example.org")
    preferences.keep(alice, mine_only=True)
    note_all([failure(1, owner_id=alice.pk)])
    spread_all()
    people.browser(people.charlie()).post(f"/admin/common/user/{alice.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=alice.pk).exists()
    assert not Target.objects.exists()


def test_what_is_lost_stands_beside_the_address_though_later_messages_arrived(alice: User, client: Client) -> None:
    targets.add(alice, "team", "json://example.org")
    Target.objects.update(problem={"code": "silent"}, problem_at=timezone.now(), sent_at=timezone.now(), lost=2)
    html = page(client, "/notifications/preferences/")
    assert "The server did not answer in time. The message may have arrived." in html
    assert "Since the last test 2 events did not arrive, or may not have." in html
    assert "Last message" in html
    Target.objects.update(problem={}, problem_at=None, lost=0)
    assert "Since the last test" not in page(client, "/notifications/preferences/")
