"""Many hands at once: each stage starts once, no slot is given twice, nobody waits for ever, nothing is lost."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count
from django.utils import timezone

from environments.models import Host
from pipelines.kinds import is_inline
from pipelines.models import Attempt, Pipeline, Queue, Stage, Transition
from pipelines.services import launch
from pipelines.services.advance import advance
from pipelines.services.cancel import cancel_stage, stop_attempt
from pipelines.services.dispatch import dispatch
from pipelines.services.observe import observe_host, observe_stages
from pipelines.states import PIPELINE_TERMINAL, STAGE_ACTIVE, PipelineEvent, PipelineStatus, StageStatus
from pipelines.transitions import move_pipeline
from platform_site.common.errors import Conflict

from . import builders, racing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

QUEUES = {"training": 24, "evaluation": 20, "preprocessing": 9, "default": 14}
HOSTS = {"local": 16, "other": 14}
WIDTH, DEPTH, PIPELINES = 24, 3, 5
RACES = 100
PATIENCE_S = 240
"""However much else the machine does; a quiet one takes ten seconds."""


def woven(name: str) -> Pipeline:
    """Layers of stages, each of which needs two of the layer above; side by side they are of all queues."""
    pipeline = builders.pipeline(PipelineStatus.PENDING, name=name)
    queues = list(QUEUES)
    stages = Stage.objects.bulk_create(
        Stage(
            pipeline=pipeline,
            name=f"s{order}",
            order=order,
            queue=queues[order % 4],
            kind="played" if order % 4 < 2 else "counted",
        )
        for order in range(WIDTH * DEPTH)
    )
    needs: Any = Stage.depends_on.through
    needs.objects.bulk_create(
        needs(from_stage=stages[layer * WIDTH + at], to_stage=stages[(layer - 1) * WIDTH + (at + step) % WIDTH])
        for layer in range(1, DEPTH)
        for at in range(WIDTH)
        for step in (0, 1)
    )
    return pipeline


def worker(name: str) -> Callable[[], None]:
    """Does what was handed out; all workers see the same attempts, so most are delivered to several at once."""

    def work() -> None:
        started = Attempt.objects.select_related("stage").filter(outcome="", stage__status=StageStatus.STARTING)
        for attempt in started[:16]:
            if is_inline(attempt.stage.kind):
                launch.launch(attempt.pk, worker=name)
            else:
                racing.play(attempt)

    return work


def observer(hosts: list[int]) -> Callable[[], None]:
    """One host after the other under its lease, and what the watcher asks for without one."""

    def look() -> None:
        for host in hosts:
            observe_host(host)
        observe_stages(Stage.objects.filter(status__in=STAGE_ACTIVE).values_list("pk", flat=True)[:6])

    return look


def test_hundreds_of_stages_of_five_pipelines_are_raced_for(machine: Host, tmp_path: Path) -> None:
    for name, slots in QUEUES.items():
        Queue.objects.filter(name=name).update(slots=slots)
    builders.host("other", root=str(tmp_path / "other"))
    for name, slots in HOSTS.items():
        Host.objects.filter(name=name).update(slots=slots)
    pipelines = [woven(f"p{number}") for number in range(PIPELINES)]
    hosts = list(Host.objects.order_by("name").values_list("pk", flat=True))
    racing.CountedKind.runs.clear()
    seen: Counter[str] = Counter()

    def sample() -> None:
        """Slots as they are at some moment, in one query each."""
        active = Stage.objects.filter(status__in=STAGE_ACTIVE).order_by().values_list("queue")
        for queue, busy in active.annotate(n=Count("id")):
            seen[queue] = max(seen[queue], busy)
        runs = Attempt.objects.filter(outcome="", stage__kind="played", stage__status__in=STAGE_ACTIVE)
        for host, busy in runs.order_by().values_list("host__name").annotate(n=Count("id")):
            seen[host] = max(seen[host], busy)

    for pipeline in pipelines:
        move_pipeline(pipeline.pk, PipelineEvent.START, actor="test")
        advance(pipeline.pk)
    end = time.monotonic() + PATIENCE_S
    with racing.racers(
        dispatch, dispatch, observer(hosts), observer(hosts[::-1]), worker("one"), worker("two")
    ) as over:
        while Pipeline.objects.exclude(status__in=PIPELINE_TERMINAL).exists() and time.monotonic() < end:
            sample()
            over.wait(0.05)
            if over.is_set():
                break

    assert set(Pipeline.objects.values_list("status", flat=True)) == {"completed"}
    whole = WIDTH * DEPTH * PIPELINES
    assert Stage.objects.filter(status="completed").count() == whole
    for status in ("queued", "starting", "completed"):
        moves = Transition.objects.filter(stage__isnull=False, to_status=status)
        assert (moves.count(), moves.values("stage").distinct().count()) == (whole, whole), status
    assert Attempt.objects.filter(number=1, outcome="succeeded").count() == Attempt.objects.count() == whole
    inline = Stage.objects.filter(kind="counted")
    assert dict(racing.CountedKind.runs) == dict.fromkeys(inline.values_list("pk", flat=True), 1)
    racing.assert_the_log_is_legal()
    most = racing.most_at_once(lambda move: move.stage.queue if move.stage else "")
    on_host = dict(Attempt.objects.filter(stage__kind="played").values_list("stage_id", "host__name"))
    most |= racing.most_at_once(lambda move: move.stage_id and on_host.get(move.stage_id))
    for name, slots in {**QUEUES, **HOSTS}.items():
        assert max(seen[name], most[name]) <= slots, name
    assert most["local"] == HOSTS["local"], "the slots of the hosts were never all taken: nothing was raced for"


def test_whoever_cancels_a_stage_that_dispatch_lets_wait_does_not_deadlock_with_it(machine: Host) -> None:
    """Dispatch writes why a stage waits, then starts another of its pipeline; a cancel takes the pipeline, then the
    stage."""
    Host.objects.update(slots=1)
    pipeline = builders.pipeline()
    now = timezone.now()
    runs = builders.stage(StageStatus.QUEUED, of=pipeline, name="runs", queued_at=now, priority=9, kind="played")
    waits = builders.stage(StageStatus.QUEUED, of=pipeline, name="waits", queued_at=now, kind="played")
    told = threading.Event()
    user = builders.person()
    raised: list[BaseException] = []

    def slowly(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        done = execute(sql, *rest)
        if sql.startswith("UPDATE") and "waiting_for" in sql and not told.is_set():
            told.set()
            time.sleep(0.5)
        return done

    def hand_out() -> None:
        try:
            with connection.execute_wrapper(slowly):
                assert dispatch() == 1
        except BaseException as error:
            raised.append(error)
        finally:
            connection.close()

    dispatcher = threading.Thread(target=hand_out)
    dispatcher.start()
    assert told.wait(10)
    cancel_stage(waits.pk, user=user)
    dispatcher.join()

    assert not raised
    runs.refresh_from_db()
    waits.refresh_from_db()
    assert (runs.status, waits.status) == ("starting", "cancelled")


def test_a_cancel_that_races_the_end_a_hundred_times(machine: Host) -> None:
    Queue.objects.update(slots=300)
    Host.objects.update(slots=300)
    user = builders.person()
    # What needs the stage shall run after its completion, and be skipped after its cancelling.
    pairs = []
    for number in range(RACES):
        pipeline = builders.pipeline(PipelineStatus.PENDING, name=f"p{number}")
        stage = Stage.objects.create(
            pipeline=pipeline, name="first", kind=["played", "counted"][number % 2], queue="training"
        )
        below = Stage.objects.create(pipeline=pipeline, name="then", order=1, kind="counted", queue="default")
        below.depends_on.set([stage])
        pairs.append((stage.pk, below.pk))
        move_pipeline(pipeline.pk, PipelineEvent.START, actor="test")
        advance(pipeline.pk)
    assert dispatch() == RACES
    opened = dict(Attempt.objects.filter(outcome="").values_list("stage_id", "pk"))
    attempts = [opened[first] for first, _then in pairs]
    turn = threading.Barrier(2)
    raced = count()
    cancelled: list[Any] = []
    refused: list[Any] = []

    def end_it() -> None:
        if (number := next(raced)) >= RACES:
            return
        attempt = Attempt.objects.select_related("stage").get(pk=attempts[number])
        turn.wait(20)
        # Each hits another moment of what the other does.
        time.sleep(number // 2 % 10 / 500)
        if attempt.stage.kind == "played":
            racing.play(attempt)
            observe_stages([attempt.stage_id])
        else:
            launch.launch(attempt.pk)

    asked = count()

    def cancel_it() -> None:
        if (number := next(asked)) >= RACES:
            return
        turn.wait(20)
        try:
            cancel_stage(pairs[number][0], user=user)
            stop_attempt(attempts[number])
            cancelled.append(number)
        except Conflict:
            refused.append(number)

    end = time.monotonic() + PATIENCE_S
    with racing.racers(end_it, cancel_it, pause_s=0) as over:
        while len(cancelled) + len(refused) < RACES and time.monotonic() < end and not over.is_set():
            over.wait(0.05)
    assert len(cancelled) + len(refused) == RACES
    # What lost the race, or was asked to stop and had ended already, is settled by the observer's next look.
    Attempt.objects.filter(outcome="").update(lease_until=None)
    for _look in range(3):
        observe_host(machine.pk)
        dispatch()
        for attempt in Attempt.objects.filter(outcome="", stage__kind="counted", stage__status=StageStatus.STARTING):
            launch.launch(attempt.pk)

    first = {stage.pk: stage for stage in Stage.objects.filter(name="first")}
    then = {stage.pk: stage for stage in Stage.objects.filter(name="then").select_related("pipeline")}
    ends = Counter((first[a].kind, first[a].status, then[b].status, then[b].pipeline.status) for a, b in pairs)
    ways = [("completed", "completed", "completed"), ("cancelled", "skipped", "cancelled")]
    assert set(ends) <= {(kind, *way) for kind in ("played", "counted") for way in ways}, ends
    assert {found[1:] for found in ends} == set(ways), f"one side never won: {ends}"
    assert all(first[pairs[number][0]].status == "completed" for number in refused)
    terminal = Transition.objects.filter(to_status__in=["completed", "cancelled"], stage__in=list(first))
    assert terminal.count() == terminal.values("stage").distinct().count() == RACES
    assert not Attempt.objects.filter(outcome="").exists()
    outcomes = {"completed": "succeeded", "cancelled": "cancelled"}
    for attempt in Attempt.objects.filter(stage__in=list(first)):
        assert attempt.outcome == outcomes[first[attempt.stage_id].status]
        assert attempt.completed_at is not None
    racing.assert_the_log_is_legal()
