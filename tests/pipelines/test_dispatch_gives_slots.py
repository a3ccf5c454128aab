"""Who starts next: free slots, priority, age, host, environment; and what is said to those who wait."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from environments.models import Host
from pipelines.models import Attempt, Queue, Stage, Transition
from pipelines.selectors import waiting_for
from pipelines.services.dispatch import dispatch
from pipelines.states import PipelineStatus, StageStatus

from . import builders

pytestmark = pytest.mark.django_db(transaction=True)


def queued(**fields: object) -> Stage:
    stage: Stage = builders.stage(StageStatus.QUEUED, **{"queued_at": timezone.now(), **fields})  # type: ignore[arg-type]
    return stage


def starting() -> list[str]:
    return list(Stage.objects.filter(status=StageStatus.STARTING).values_list("name", flat=True).order_by("name"))


def test_the_highest_priority_starts_first_and_the_oldest_within_it(machine: Host) -> None:
    Queue.objects.filter(name="training").update(slots=2)
    now = timezone.now()
    queued(name="low-old", priority=3, queued_at=now - timedelta(hours=1))
    queued(name="high-new", priority=8, queued_at=now)
    queued(name="high-old", priority=8, queued_at=now - timedelta(minutes=1))

    assert dispatch() == 2
    assert starting() == ["high-new", "high-old"]


def test_a_full_queue_delays_no_other(machine: Host) -> None:
    Queue.objects.update(slots=1)
    queued(name="a")
    queued(name="b")
    queued(name="c", queue="evaluation")

    assert dispatch() == 2
    assert starting() == ["a", "c"]


def test_a_stage_of_a_paused_pipeline_waits(machine: Host) -> None:
    queued(of=builders.pipeline(PipelineStatus.PAUSED))
    assert dispatch() == 0


def test_a_stage_waits_for_its_next_try(machine: Host) -> None:
    stage = queued(not_before=timezone.now() + timedelta(minutes=1))
    assert dispatch() == 0
    assert "next try" in waiting_for(stage)


def test_a_stage_says_which_host_it_waits_for(machine: Host) -> None:
    Host.objects.update(slots=1)
    queued(name="a")
    stage = queued(name="b")
    assert dispatch() == 1
    stage.refresh_from_db()
    assert stage.waiting_for == "a free slot on local (1 of 1 taken)"


def test_a_stage_waits_while_the_training_environment_is_not_there(machine: Host) -> None:
    Host.objects.update(python="/nowhere/python")
    stage = queued()
    assert dispatch() == 0
    stage.refresh_from_db()
    assert "/nowhere/python is not an executable Python" in stage.waiting_for


def test_a_host_that_does_not_answer_gets_no_new_runs(machine: Host) -> None:
    Host.objects.update(unreachable_since=timezone.now())
    stage = queued()
    assert dispatch() == 0
    stage.refresh_from_db()
    assert stage.waiting_for.startswith("host local, silent since 20")


def test_short_work_belongs_to_this_machine_and_to_none_that_is_silent(machine: Host) -> None:
    """It runs in a worker; but its host is who looks after it."""
    Host.objects.filter(pk=machine.pk).update(enabled=False)
    builders.host("a-silent", kind=Host.Kind.SSH, unreachable_since=timezone.now())
    builders.host("b-alive", kind=Host.Kind.SSH)
    queued(name="one", kind="noop", queue="default")
    dispatch()
    Host.objects.filter(pk=machine.pk).update(enabled=True)
    queued(name="two", kind="noop", queue="default")
    dispatch()
    given = Attempt.objects.order_by("stage__name").values_list("host__name", flat=True)
    assert list(given) == ["b-alive", machine.name]


def test_dispatchers_that_race_start_each_stage_once_and_never_pass_the_slots(machine: Host) -> None:
    Queue.objects.filter(name="training").update(slots=7)
    Host.objects.update(slots=100)
    for number in range(20):
        queued(name=f"stage-{number}")
    started: list[int] = []

    def race() -> None:
        try:
            started.append(dispatch())
        finally:
            connection.close()

    threads = [threading.Thread(target=race) for _racer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(started) == 7
    assert len(starting()) == 7
    assert Transition.objects.filter(to_status="starting").count() == 7
    assert Attempt.objects.exclude(folder="").count() == 7


def test_a_tick_asks_no_more_of_the_database_when_more_are_waiting(machine: Host) -> None:
    Queue.objects.filter(name="training").update(slots=1)

    def queries(waiting: int) -> int:
        Stage.objects.all().delete()
        for number in range(waiting):
            queued(name=f"stage-{number}")
        with CaptureQueriesContext(connection) as asked:
            dispatch()
        return len(asked)

    assert queries(200) == queries(5)
