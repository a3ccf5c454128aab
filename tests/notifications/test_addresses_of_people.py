"""Where a person has messages sent: kept sealed, tried out, refused."""

import logging
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from pytest_django.fixtures import Settings

from notifications.models import Delivery, Event, Notification, Target
from notifications.services import targets
from notifications.services.delivery import deliver
from notifications.services.events import note
from platform_site.common import crypto
from platform_site.common.errors import Conflict, Invalid
from platform_site.common.models import AuditEvent, User
from platform_site.common.severity import Severity
from tests import people

from .made import anomaly, errors, failure, spread_all, states
from .servers import Web

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback")]
SECRET = "hunter2secret"


def test_the_address_is_sealed_and_nowhere_else(alice: User, web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    web.status = 500
    target = targets.add(alice, "team", f"{web.url()}/{SECRET}")
    note(failure())
    spread_all()
    deliver(errors(target))
    with pytest.raises(Invalid):
        targets.try_out(target)
    assert SECRET in crypto.decrypt(Target.objects.get().secret)
    kept = [str(row) for model in (Target, Delivery, Event, Notification, AuditEvent) for row in model.objects.values()]
    assert SECRET not in "".join(kept)
    assert SECRET not in caplog.text
    assert {row.action for row in AuditEvent.objects.all()} == {"notifications.target.add", "notifications.target.test"}


def test_a_new_key_takes_the_addresses_along(alice: User, web: Web, settings: Settings) -> None:
    target = targets.add(alice, "team", web.url())
    old = list(settings.FERNET_KEYS)
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *old]
    call_command("rotate_secrets", verbosity=0)
    settings.FERNET_KEYS = settings.FERNET_KEYS[:1]
    targets.try_out(Target.objects.get(pk=target.pk))
    assert len(web.got) == 1


def test_a_test_is_sent_at_once_and_not_again_and_again(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", web.url())
    targets.try_out(target)
    assert web.messages[0]["title"] == "Anneal: A test"
    with pytest.raises(Conflict):
        targets.try_out(target)
    assert len(web.got) == 1


def test_a_test_that_does_not_arrive_says_why(alice: User, web: Web) -> None:
    web.status = 403
    target = targets.add(alice, "team", web.url())
    with pytest.raises(Invalid, match="answered 403"):
        targets.try_out(target)


@pytest.mark.parametrize(
    ("name", "url", "field"),
    [
        ("", "json://example.org", "name"),
        ("a\nb", "json://example.org", "name"),
        ("x" * 61, "json://example.org", "name"),
        ("a", "", "url"),
        ("a", "***", "url"),
        ("a", "exec://ls", "url"),
        ("a", "json://example.org/?template=x", "url"),
        ("a", "json://" + "x" * 2000, "url"),
    ],
)
def test_what_cannot_be_sent_to_is_refused_by_its_field(alice: User, name: str, url: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        targets.add(alice, name, url)
    assert list(caught.value.fields) == [field]
    assert not Target.objects.exists()


def test_a_name_is_taken_once_a_person(alice: User) -> None:
    targets.add(alice, "team", "json://example.org")
    with pytest.raises(Conflict):
        targets.add(alice, "team", "json://example.org")
    targets.add(people.bob(), "team", "json://example.org")


def test_a_person_has_ten_addresses_at_most(alice: User) -> None:
    sealed: dict[str, Any] = {"medium": "webhook", "service": "JSON", "secret": crypto.encrypt("json://x")}
    Target.objects.bulk_create(Target(user=alice, name=str(number), **sealed) for number in range(10))
    with pytest.raises(Conflict, match="10"):
        targets.add(alice, "one more", "json://example.org")


def test_a_lost_key_is_told_and_stops_nothing(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", web.url())
    Target.objects.update(secret="gAAAAA-nothing")
    note(anomaly(1, Severity.ERROR))
    spread_all()
    assert deliver(errors(target))
    assert states() == {"failed": 1}
