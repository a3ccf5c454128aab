"""Changes that meet: none is lost, and none undoes what another one did."""

import threading
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.db import connection, transaction
from django.utils import timezone

from notifications.models import Preference, Target
from notifications.services import preferences, targets
from notifications.tasks import deliver_in, spread_events
from platform_site.common import crypto
from platform_site.common.errors import Conflict, NotFound
from platform_site.common.models import User
from tests import people

WHILE_S = 1.5
"""Longer than the other one needs to get to where it has to wait."""


def meanwhile(deed: Callable[[], Any], other: Callable[[], Any]) -> list[BaseException]:
    """Does `deed` in a transaction that is open while `other` runs; what `other` raised."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            other()
        except Exception as error:
            raised.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    with transaction.atomic():
        deed()
        thread.start()
        thread.join(WHILE_S)
    thread.join()
    return raised


def sealed(user: User, name: str) -> Target:
    return Target(user=user, name=name, medium="webhook", service="JSON", secret=crypto.encrypt("json://x"))


@pytest.mark.django_db(transaction=True)
def test_two_changes_of_how_one_is_told_both_stay() -> None:
    alice = people.alice()
    preferences.keep_language(alice)

    def another_language() -> None:
        Preference.objects.select_for_update().get(user=alice)
        Preference.objects.filter(user=alice).update(language="zh-hans")

    assert meanwhile(another_language, lambda: preferences.keep(alice, mine_only=True)) == []
    wishes = preferences.wishes_for(alice)
    assert (wishes.mine_only, wishes.language) == (True, "zh-hans")


@pytest.mark.django_db(transaction=True)
def test_of_two_tenth_addresses_one_is_refused() -> None:
    alice = people.alice()
    Target.objects.bulk_create(sealed(alice, str(number)) for number in range(targets.MOST - 1))

    def the_tenth() -> None:
        User.objects.select_for_update().get(pk=alice.pk)
        sealed(alice, "tenth").save()

    (refused,) = meanwhile(the_tenth, lambda: targets.add(alice, "one more", "json://example.org"))
    assert isinstance(refused, Conflict)
    assert Target.objects.filter(user=alice).count() == targets.MOST


@pytest.mark.django_db
def test_an_address_that_was_removed_while_it_was_changed_stays_away() -> None:
    target = targets.add(people.alice(), "team", "json://example.org")
    Target.objects.all().delete()
    with pytest.raises(NotFound):
        targets.change(target, name="all")
    assert not Target.objects.exists()


@pytest.mark.django_db
def test_a_change_leaves_what_became_of_a_message_meanwhile() -> None:
    target = targets.add(people.alice(), "team", "json://example.org")
    Target.objects.update(sent_at=(sent_at := timezone.now()), lost=3)
    targets.change(target, name="all")
    kept = Target.objects.get()
    assert (kept.name, kept.sent_at, kept.lost) == ("all", sent_at, 3)
    targets.change(target, url="json://example.com")
    kept = Target.objects.get()
    assert (kept.name, kept.lost, crypto.decrypt(kept.secret)) == ("all", 0, "json://example.com")


def test_nothing_waits_behind_a_silent_server_but_other_messages_outside() -> None:
    actors = dramatiq.get_broker().actors.values()
    assert [one.actor_name for one in actors if one.queue_name == deliver_in.queue_name] == ["deliver_in"]
    assert spread_events.queue_name != deliver_in.queue_name
