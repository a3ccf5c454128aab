"""From an event to a real server: errors ahead, one message at a time, tried again, folded, and never twice."""

import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import psutil
import pytest
from django.db import connection
from django.utils import timezone

from notifications.models import Delivery, Lane, Target
from notifications.services import delivery, preferences, targets
from notifications.services.delivery import deliver, due_lanes
from notifications.services.events import Happened, note, note_all
from notifications.services.outside import SENDER, Outcome
from platform_site.common.models import User
from tests import people
from tests.harness import wait_until
from tests.processes import arguments

from .made import anomaly, errors, failure, spread_all, states
from .servers import Mail, Web

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback")]
SECRET = "hunter2secret"


def rest(target: Target) -> int:
    """The lane of all else."""
    return target.lanes.get(urgent=False).pk


def waits_no_more(target: Target) -> None:
    """As if the pauses were over."""
    Lane.objects.filter(target=target).update(next_at=timezone.now() - timedelta(seconds=1))


def in_a_worker(lane_id: int) -> None:
    try:
        deliver(lane_id)
    finally:
        connection.close()


def test_a_failure_arrives_with_its_reason_and_where_to_look(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", f"{web.url()}/{SECRET}")
    note(failure())
    spread_all()
    assert due_lanes() == [errors(target)]
    assert deliver(errors(target))
    (message,) = web.messages
    assert message["title"] == "Anneal: Stage train of Pipeline 1 failed"
    assert message["message"] == "No room.\n\nhttps://anneal.example.org/pipelines/1/"
    assert states() == {"sent": 1}
    assert not deliver(errors(target))
    assert len(web.got) == 1


def test_a_mail_arrives_in_the_language_that_was_chosen(alice: User) -> None:
    with Mail() as mail:
        target = targets.add(alice, "me", mail.url())
        preferences.keep(alice, language="zh-hans")
        note(failure())
        spread_all()
        deliver(errors(target))
    assert len(mail.got) == 1
    assert preferences.wishes_for(alice).language == "zh-hans"


def test_errors_go_ahead_of_a_hundred_findings_that_wait_as_one_message(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", web.url())
    note(anomaly(0))
    spread_all()
    deliver(rest(target))
    note_all([anomaly(step) for step in range(1, 100)])
    spread_all()
    assert due_lanes() == [], "the rest pauses"
    note_all([failure(number) for number in range(30)])
    spread_all()
    assert due_lanes() == [errors(target)], "errors wait for no pause of the rest"
    assert deliver(errors(target))
    assert not deliver(rest(target))
    waits_no_more(target)
    assert due_lanes() == [rest(target)]
    assert deliver(rest(target))
    first, ahead, digest = web.messages
    assert "Tiny" in first["title"]
    assert ahead["title"] == "Anneal: 30 events"
    lines = ahead["message"].split("\n\n")
    assert lines[0].startswith("Error: Stage train of Pipeline 29 failed\nhttps://anneal.example.org/pipelines/29/")
    assert lines[-2] == "… and 10 more"
    assert len(lines) == 22
    assert digest["title"] == "Anneal: 99 events"
    assert states() == {"sent": 130}


def test_an_error_is_sent_while_a_server_is_slow_to_take_the_rest(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", web.url())
    note(anomaly(0))
    spread_all()
    assert delivery._claim(rest(target)) is not None, "its message is on its way"
    note(failure())
    spread_all()
    assert deliver(errors(target))
    assert [one["title"] for one in web.messages] == ["Anneal: Stage train of Pipeline 1 failed"]
    assert states() == {"sending": 1, "sent": 1}


def test_an_error_does_not_wait_until_the_rest_is_tried_again(alice: User, web: Web) -> None:
    web.status = 503
    target = targets.add(alice, "team", web.url())
    note(anomaly(0))
    spread_all()
    deliver(rest(target))
    web.status = 200
    note(failure())
    spread_all()
    assert due_lanes() == [errors(target)]
    assert deliver(errors(target))
    assert dict(Delivery.objects.values_list("event__kind", "state")) == {"anomaly": "pending", "stage_failed": "sent"}


def test_what_is_told_together_is_sent_with_the_errors_first(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", web.url())
    note_all([anomaly(0), failure()])
    spread_all()
    assert due_lanes() == [errors(target), rest(target)]


@pytest.mark.parametrize(
    ("happens", "pauses"), [(failure, [60, 120, 240, 300, 300, 300]), (anomaly, [60, 120, 240, 480, 900, 900])]
)
def test_the_longer_it_goes_on_the_longer_are_the_pauses_and_those_of_errors_are_shorter(
    alice: User, web: Web, happens: Callable[[int], Happened], pauses: list[int]
) -> None:
    target = targets.add(alice, "team", web.url())
    seen = []
    for number in range(6):
        note(happens(number))
        spread_all()
        (lane,) = due_lanes()
        deliver(lane)
        seen.append(Lane.objects.get(pk=lane).pause_s)
        waits_no_more(target)
    assert seen == pauses
    Lane.objects.update(sent_at=timezone.now() - timedelta(hours=1))
    note(happens(99))
    spread_all()
    deliver(lane)
    assert Lane.objects.get(pk=lane).pause_s == 60


def test_what_did_not_arrive_is_tried_again_five_times_at_growing_distances(alice: User, web: Web) -> None:
    web.status = 503
    target = targets.add(alice, "team", web.url())
    note(failure())
    spread_all()
    waits = []
    for _ in range(5):
        assert states() == {"pending": 1}
        began = timezone.now()
        assert deliver(errors(target))
        next_at = Lane.objects.get(pk=errors(target)).next_at
        assert next_at is not None
        waits.append((next_at - began).total_seconds())
        waits_no_more(target)
    assert states() == {"failed": 1}
    assert len(web.got) == 5
    assert all(first * 1.2 < second for first, second in pairwise(waits[:4]))
    assert waits[-1] <= 15 * 60 + 5, "however late it is, it is no term that only a clock set back could have left"
    target.refresh_from_db()
    assert (target.problem, target.lost) == ({"code": "answered", "detail": "503"}, 1)
    assert not deliver(errors(target))


def test_each_event_has_its_own_five_tries(alice: User, web: Web) -> None:
    web.status = 503
    target = targets.add(alice, "team", web.url())
    note(failure(1))
    spread_all()
    for _ in range(4):
        deliver(errors(target))
        waits_no_more(target)
    note(failure(2))
    spread_all()
    deliver(errors(target))
    assert dict(Delivery.objects.values_list("event__key", "state")) == {"stage:1": "failed", "stage:2": "pending"}
    for _ in range(4):
        waits_no_more(target)
        assert deliver(errors(target))
    assert states() == {"failed": 2}
    assert len(web.got) == 9


def test_what_was_refused_for_good_is_not_tried_again(alice: User, web: Web) -> None:
    web.status = 404
    target = targets.add(alice, "team", web.url())
    note(failure())
    spread_all()
    deliver(errors(target))
    assert states() == {"failed": 1}


def test_what_may_have_arrived_is_not_sent_again_and_stays_told(alice: User, web: Web) -> None:
    """The worker was killed while it sent. What arrives after that makes nobody forget it; a test that arrives does."""
    target = targets.add(alice, "team", web.url())
    note(failure(1))
    spread_all()
    assert delivery._claim(errors(target)) is not None
    assert not deliver(errors(target)), "its place is held"
    note(failure(2))
    spread_all()
    waits_no_more(target)
    assert deliver(errors(target))
    assert dict(Delivery.objects.values_list("event__key", "state")) == {"stage:1": "unknown", "stage:2": "sent"}
    assert [one["title"] for one in web.messages] == ["Anneal: Stage train of Pipeline 2 failed"]
    target.refresh_from_db()
    assert (target.problem["code"], target.lost) == ("interrupted", 1)
    targets.try_out(target)
    target.refresh_from_db()
    assert (target.problem, target.lost) == ({}, 0)


@pytest.mark.parametrize("code", ["ok", "unreachable"])
def test_what_became_of_the_address_before_is_nothing_to_the_new_one(alice: User, web: Web, code: str) -> None:
    target = targets.add(alice, "team", web.url())
    note(failure(1))
    spread_all()
    claim = delivery._claim(errors(target))
    assert claim is not None
    targets.change(target, url=f"{web.url()}/new")
    delivery._settle(claim, Outcome(code))
    target.refresh_from_db()
    assert (target.problem, target.problem_at, target.sent_at, target.lost) == ({}, None, None, 0)


def test_a_worker_that_wakes_when_its_message_was_told_as_lost_changes_nothing(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", web.url())
    note(failure(1))
    spread_all()
    late = delivery._claim(errors(target))
    assert late is not None
    note(failure(2))
    spread_all()
    waits_no_more(target)
    assert delivery._claim(errors(target)) is not None
    held = Lane.objects.get(pk=errors(target)).next_at
    for code in ("ok", "unreachable"):
        delivery._settle(late, Outcome(code))
    assert Lane.objects.get(pk=errors(target)).next_at == held, "the other one's place"
    assert states() == {"unknown": 1, "sending": 1}
    target.refresh_from_db()
    assert (target.problem["code"], target.lost) == ("interrupted", 1)


@pytest.mark.django_db(transaction=True)
def test_a_message_whose_process_is_killed_is_told_as_one_that_may_have_arrived() -> None:
    with Web(hold=threading.Event()) as web:
        target = targets.add(people.alice(), "team", web.url())
        note(failure())
        spread_all()
        lane = errors(target)
        worker = threading.Thread(target=in_a_worker, args=(lane,))
        worker.start()
        wait_until(lambda: web.got, 30, "the message is with the server")
        (sender,) = [one for one in psutil.Process().children() if str(SENDER) in arguments(one)]
        sender.kill()
        worker.join(20)
    assert not worker.is_alive()
    assert len(web.got) == 1
    assert states() == {"unknown": 1}
    target.refresh_from_db()
    assert (target.problem["code"], target.lost) == ("interrupted", 1)
    waits_no_more(target)
    assert due_lanes() == []


@pytest.mark.django_db(transaction=True)
def test_four_workers_send_one_message(web: Web) -> None:
    target = targets.add(people.alice(), "team", web.url())
    note(failure())
    spread_all()

    threads = [threading.Thread(target=in_a_worker, args=(errors(target),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(web.got) == 1


def test_a_clock_that_was_set_back_holds_nothing_up(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", web.url())
    note(failure())
    spread_all()
    Lane.objects.update(next_at=timezone.now() + timedelta(hours=5))
    assert due_lanes() == [errors(target)]


def test_control_characters_and_directions_of_names_reach_no_message(alice: User, web: Web) -> None:
    target = targets.add(alice, "team", web.url())
    note(failure(about="a\r\nBcc: x\u202eb\x00", args={"stage": "s\n", "reason": "\x1b[31mr\x00ed\ud800"}))
    spread_all()
    deliver(errors(target))
    (message,) = web.messages
    assert "\n" not in message["title"]
    assert not {"\x00", "\x1b", "\u202e", "\r"} & set(message["title"] + message["message"])
