"""Whatever is noticed how often, and by however many workers: one event, and nobody is told twice."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from pytest_django.fixtures import Settings

from notifications.models import Delivery, Event, Lane, Notification, Target
from notifications.services import preferences, reading
from notifications.services.events import note, note_all
from notifications.services.spread import spread
from platform_site.common import crypto
from platform_site.common.models import User
from platform_site.common.roles import Role
from platform_site.common.severity import Severity
from tests import people

from .made import anomaly, failure, spread_all, titles

pytestmark = pytest.mark.django_db


def target_of(user: User, medium: str = "webhook") -> Target:
    made = Target.objects.create(
        user=user, name=f"my {medium}", medium=medium, service="JSON", secret=crypto.encrypt("json://x")
    )
    Lane.objects.bulk_create(Lane(target=made, urgent=urgent) for urgent in (True, False))
    return made


def test_what_happened_goes_with_its_transaction() -> None:
    with transaction.atomic():
        note(failure())
        transaction.set_rollback(True)
    assert not Event.objects.exists()


def test_everybody_with_a_role_is_told_and_nobody_twice() -> None:
    alice, bob, dora = people.alice(), people.bob(), people.dora()
    sleeper = people.person("sleeper", Role.ADMIN)
    User.objects.filter(pk=sleeper.pk).update(is_active=False)
    for _ in range(3):
        note(failure())
        spread_all()
    assert titles(alice) == titles(bob) == ["Stage train of Pipeline 1 failed"]
    assert titles(dora) == titles(sleeper) == []


def test_a_superuser_without_a_group_is_told() -> None:
    root = User.objects.create_superuser("root", password="correct horse battery")
    note(failure())
    spread_all()
    assert len(titles(root)) == 1


def test_an_event_is_told_in_the_language_of_its_reader() -> None:
    alice = people.alice()
    note(failure())
    spread_all()
    event = Notification.objects.get(user=alice).event
    assert set(event.args) == {"stage", "reason"}, "arguments are kept, not sentences"
    with translation.override("zh-hans"):
        assert event.told.text == "No room."
        assert "Pipeline 1" in event.told.title


def test_of_the_integrity_check_only_administrators_hear() -> None:
    bob, charlie = people.bob(), people.charlie()
    note(failure(kind="integrity", args={"said": "closed", "repaired": True}))
    spread_all()
    assert (titles(bob), len(titles(charlie))) == ([], 1)


def test_a_kind_that_this_version_does_not_know_is_told_to_nobody() -> None:
    people.alice()
    note(failure(kind="eclipse"))
    spread_all()
    assert not Notification.objects.exists()


def test_a_flood_is_one_notification_that_shows_the_worst() -> None:
    alice = people.alice()
    note_all([anomaly(step) for step in range(60)])
    spread_all()
    note_all([anomaly(60, Severity.CRITICAL), *(anomaly(step) for step in range(61, 100))])
    spread_all()
    told = Notification.objects.get(user=alice)
    assert (told.count, told.severity, told.event.args["start_step"]) == (100, Severity.CRITICAL, 60)


def test_what_comes_after_it_was_read_or_long_after_is_told_anew() -> None:
    alice = people.alice()
    note(anomaly(1))
    spread_all()
    reading.read_all(alice)
    note(anomaly(2))
    spread_all()
    assert Notification.objects.filter(user=alice).count() == 2
    Notification.objects.update(last_at=timezone.now() - timedelta(minutes=11))
    note(anomaly(3))
    spread_all()
    assert Notification.objects.filter(user=alice).count() == 3


def test_another_run_or_another_kind_is_told_by_itself() -> None:
    alice = people.alice()
    note_all([anomaly(1), anomaly(2, group="job:2"), failure(group="job:1")])
    spread_all()
    assert Notification.objects.filter(user=alice).count() == 3


def test_a_person_hears_only_what_they_want_where_they_want_it() -> None:
    alice = people.alice()
    target_of(alice)
    target_of(alice, "email")
    preferences.keep(
        alice,
        channels={
            "page": {"kinds": ["anomaly"], "severity": "error"},
            "browser": {"kinds": ["anomaly", "stage_failed"], "severity": "critical"},
            "webhook": {"kinds": []},
            "email": {"kinds": ["stage_failed"]},
        },
    )
    note_all([anomaly(1), anomaly(2, Severity.ERROR, group="job:2"), failure()])
    spread_all()
    found = {one.kind: (one.in_page, one.in_browser) for one in Notification.objects.filter(user=alice)}
    assert found == {"anomaly": (True, False), "stage_failed": (False, True)}
    assert list(Delivery.objects.values_list("lane__target__medium", "event__kind")) == [("email", "stage_failed")]


def test_of_what_others_started_one_need_not_hear() -> None:
    alice, bob = people.alice(), people.bob()
    preferences.keep(alice, mine_only=True)
    note_all([failure(1, owner_id=bob.pk), failure(2, owner_id=alice.pk), failure(3)])
    spread_all()
    about = Notification.objects.filter(user=alice).values_list("event__about", flat=True)
    assert sorted(about) == ["Pipeline 2", "Pipeline 3"]
    assert Notification.objects.filter(user=bob).count() == 3


def test_a_kind_that_is_new_in_a_later_version_is_told() -> None:
    wishes = preferences.keep(people.alice(), channels={"page": {"kinds": ["anomaly"]}})
    assert "anomaly" not in wishes.channels["page"].off
    assert "a-new-kind" not in wishes.channels["page"].off


def test_an_event_goes_to_each_address_once() -> None:
    alice = people.alice()
    target_of(alice)
    note(failure())
    spread_all()
    Event.objects.update(spread_at=None)
    spread_all()
    assert (Delivery.objects.count(), Notification.objects.count()) == (1, 1)


def test_noting_is_one_statement_whatever_comes_of_it() -> None:
    for number in range(20):
        target_of(people.person(f"user-{number}", Role.VIEWER))
    with CaptureQueriesContext(connection) as one, transaction.atomic():
        note(failure())
    with CaptureQueriesContext(connection) as many, transaction.atomic():
        note_all([anomaly(step) for step in range(50)])
    inserts = [[q["sql"] for q in asked if "INSERT" in q["sql"]] for asked in (one, many)]
    assert [len(found) for found in inserts] == [1, 1]
    assert len(many) == len(one)


def test_spreading_costs_as_many_statements_for_many_events_and_people_as_for_few() -> None:
    def cost(first: int, last: int) -> int:
        note_all([anomaly(step, group=f"job:{step}") for step in range(first, last)])
        with CaptureQueriesContext(connection) as asked:
            spread()
        return len(asked)

    target_of(people.alice())
    few = cost(0, 2)
    for number in range(9):
        target_of(people.person(f"user-{number}", Role.VIEWER))
    assert cost(10, 16) == few, "60 notifications, in one statement as one"


@pytest.mark.django_db(transaction=True)
def test_four_workers_at_once_tell_everybody_once() -> None:
    alice = people.alice()
    target_of(alice)
    note_all([anomaly(step, group=f"job:{step % 7}") for step in range(50)])

    def work() -> None:
        try:
            spread_all()
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(Notification.objects.filter(user=alice).values_list("count", flat=True)) == 50
    assert Delivery.objects.count() == 50


def test_what_is_old_is_forgotten_with_all_that_was_told_of_it(settings: Settings) -> None:
    target_of(people.alice())
    note_all([failure(1), failure(2)])
    spread_all()
    Event.objects.filter(key="stage:1").update(at=timezone.now() - timedelta(days=91))
    settings.NOTIFICATIONS_KEEP_S = 0
    reading.tidy()
    assert Event.objects.count() == 2
    settings.NOTIFICATIONS_KEEP_S = 90 * 86_400
    reading.tidy()
    assert (Event.objects.count(), Notification.objects.count(), Delivery.objects.count()) == (1, 1, 1)
