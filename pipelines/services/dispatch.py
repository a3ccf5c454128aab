"""Give queued stages their slots, and send the one message that starts each.

The database is the truth and the outbox; the message only makes it quick. A message that is lost is sent again by
the observer, one that is doubled meets the claim.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from environments.models import Host
from pipelines.folders import attempt_path
from pipelines.kinds import is_inline, is_instant
from pipelines.messages import send_launch
from pipelines.models import Attempt, Queue, Stage
from pipelines.services import gpu_leases
from pipelines.services.advance import enqueue
from pipelines.services.places import Places
from pipelines.states import STAGE_ACTIVE, PipelineStatus, StageEvent, StageStatus
from pipelines.transitions import Moves, Step, moving, open_blocks
from platform_site.common import plain

DISPATCH: Final = "dispatch"
"""As who moves a stage."""
LOOKAHEAD: Final = 50
"""How far past the free slots of a queue dispatch looks when the first ones wait for a host."""


@dataclass(frozen=True)
class Taker:
    """A worker that has its hands free for one more short stage of `queue`, or some instant ones, without a message.

    `fields` says, when it comes to that, what it writes into the attempts that it takes: locks may be waited for
    longer than a lease lasts.
    """

    queue: str
    worker: str
    fields: Callable[[], dict[str, Any]]


@dataclass
class HandedOut:
    """`taken` run already, by the taker; a message was sent for each of the others that `started` counts."""

    started: int = 0
    taken: list[Attempt] = field(default_factory=list)


def dispatch() -> int:
    """Start what may start; how many stages were started. Cheap when nothing is queued."""
    return hand_out().started if _due().exists() else 0


def hand_out(
    only: Collection[str] | None = None,
    taker: Taker | None = None,
    first: Callable[[ExitStack], list[Attempt]] | None = None,
) -> HandedOut:
    """Give the free slots of these queues (of all) to the highest priority, and the oldest within it.

    The rows of queues and hosts are locked: what is counted here stays so until the stages have moved. A pipeline's
    row comes after them, and is never held by who asks for them. `first` is what the taker has to end before it
    takes: in the same transaction, since one costs as much as a short stage. The blocks of moves that it opens stay
    open for what is taken of the same pipelines. What it answers with, tries at stages that became ready, counts as
    queued, and is: what starts here goes all the way in one move.
    """
    with transaction.atomic(), ExitStack() as kept:
        which = {} if only is None else {"name": list(only)}
        locked = plain.select(Queue, which, order=["-priority", "name"], lock=True)
        places = Places()
        fresh: dict[UUID, Attempt] = {}
        if first is not None:
            places.lock()
            fresh = {attempt.stage_id: attempt for attempt in first(kept)}
        busy = Stage.objects.filter(status__in=STAGE_ACTIVE).order_by().values_list("queue")
        in_queue = dict(busy.annotate(n=Count("id")))
        chosen: list[tuple[Stage, Host]] = []
        for queue in locked:
            free = queue.slots - in_queue.get(queue.name, 0)
            for stage in _candidates(queue, free, [attempt.stage for attempt in fresh.values()], places, only is None):
                host = places.take(stage)
                if host is not None:
                    chosen.append((stage, host))
                    free -= 1
                    if not free:
                        break
        _enqueue(fresh.keys() - {stage.pk for stage, _host in chosen}, fresh)
        if {stage.pipeline_id for stage, _host in chosen} - open_blocks():
            kept.close()  # written in the order in which it happened: what ended made room
        found = _start(chosen, fresh, places, taker)
        # Last: it writes stages without their pipeline's row, which nobody may ask for after that.
        _tell(places.waiting)
        return found


def _due() -> QuerySet[Stage]:
    now = timezone.now()
    return Stage.objects.filter(
        Q(not_before=None) | Q(not_before__lte=now),
        status=StageStatus.QUEUED,
        pipeline__status=PipelineStatus.RUNNING,
    )


def _candidates(queue: Queue, free: int, fresh: Iterable[Stage], places: Places, whole: bool) -> Iterator[Stage]:
    """Whose turn it is, of those that are queued and the fresh ones.

    GPUs are given out where all queues are looked at (`whole`): else a stage of one queue would take what is kept for
    one of another that has waited longer.
    """
    if free <= 0:
        return
    now = timezone.now()

    def turn(stage: Stage) -> tuple[int, datetime, UUID]:
        return -stage.priority, now if stage.pk in new else stage.queued_at or now, stage.pk

    new = {stage.pk: stage for stage in fresh if stage.queue == queue.name and (whole or not stage.gpus)}
    yield from heapq.merge(_queued(queue, free, places, whole), sorted(new.values(), key=turn), key=turn)


def _queued(queue: Queue, free: int, places: Places, whole: bool) -> Iterator[Stage]:
    """As many as there are slots, and further ones only when some of those found no host."""
    waiting = _due().filter(queue=queue.name).order_by("-priority", "queued_at", "id")
    if not whole:
        waiting = waiting.filter(gpus=0)
    page = list(waiting[:free])
    yield from page
    if len(page) < free:
        return
    page = list(waiting[free : free + LOOKAHEAD])
    yield from page
    while len(page) == LOOKAHEAD and places.refused and not places.full:
        # A host that is short of GPUs must not hold up those who want none, however many wait for it.
        page = list(waiting.exclude(places.like_the_refused()).exclude(pk__in=places.given)[:LOOKAHEAD])
        yield from page


def _tell(waiting: dict[str, list[UUID]]) -> None:
    for why, stages in waiting.items():
        Stage.objects.filter(pk__in=stages, status=StageStatus.QUEUED).update(waiting_for=why)


def _enqueue(stages: Collection[UUID], fresh: Mapping[UUID, Attempt]) -> None:
    together: dict[UUID, list[Attempt]] = defaultdict(list)
    for stage_id in stages:
        together[fresh[stage_id].stage.pipeline_id].append(fresh[stage_id])
    for pipeline_id, attempts in together.items():
        with moving(pipeline_id) as moves:
            enqueue(moves, attempts, actor=DISPATCH)


def _start(
    chosen: Iterable[tuple[Stage, Host]], fresh: Mapping[UUID, Attempt], places: Places, taker: Taker | None
) -> HandedOut:
    together: dict[tuple[UUID, int], list[Stage]] = defaultdict(list)
    hosts: dict[int, Host] = {}
    for stage, host in chosen:
        hosts[host.pk] = host
        together[stage.pipeline_id, host.pk].append(stage)
    found = HandedOut()
    for (pipeline_id, host_id), stages in together.items():
        with moving(pipeline_id) as moves:
            if moves.pipeline is not None and moves.pipeline.status == PipelineStatus.RUNNING:
                _start_together(moves, hosts[host_id], stages, fresh, places, taker, found)
    return found


def _start_together(
    moves: Moves,
    host: Host,
    stages: Iterable[Stage],
    fresh: Mapping[UUID, Attempt],
    places: Places,
    taker: Taker | None,
    found: HandedOut,
) -> None:
    new = [fresh[stage.pk] for stage in stages if stage.pk in fresh]
    attempts = [*new, *_tries_at([stage for stage in stages if stage.pk not in fresh])]
    mine = _for_taker(attempts, taker) if taker is not None and not found.taken else []
    if taker is not None and mine:
        _take(moves, mine, host, taker)
        found.taken = mine
    enqueue(moves, [attempt for attempt in new if attempt not in mine], actor=DISPATCH)
    others = [attempt for attempt in attempts if attempt not in mine]
    if others:
        _move(moves, others, _dispatched(host))
    for attempt in others:
        gpus = list(places.given[attempt.stage_id])
        _keep([attempt], host=host, sent_at=timezone.now(), folder=_folder(host, attempt), gpus=gpus)
        _send_on_commit(attempt)
    if moves.pipeline is not None:
        gpu_leases.take(host, others, moves.pipeline.project_id)
    found.started += len(attempts)


def _tries_at(stages: Sequence[Stage]) -> list[Attempt]:
    """Looked up under the pipeline's lock: whatever was cancelled since it was chosen falls out here."""
    if not stages:
        return []
    by_id = {stage.pk: stage for stage in stages}
    attempts = list(Attempt.objects.filter(stage__in=by_id, stage__status=StageStatus.QUEUED, outcome=""))
    for attempt in attempts:
        attempt.stage = by_id[attempt.stage_id]
    return attempts


def _take(moves: Moves, attempts: Sequence[Attempt], host: Host, taker: Taker) -> None:
    """They run from now on, in the taker's hands. What is new is queued, handed out and started in one UPDATE."""
    steps = [_dispatched(host), Step(StageEvent.START, taker.worker)]
    held = {"host": host, "sent_at": timezone.now(), **taker.fields()}
    new = [attempt for attempt in attempts if attempt._state.adding]
    if new:
        _move(moves, new, Step(StageEvent.ENQUEUE, DISPATCH), *steps)
        _set(new, held)
        Attempt.objects.bulk_create(new)
    waited = [attempt for attempt in attempts if attempt not in new]
    if waited:
        _move(moves, waited, *steps)
        _keep(waited, **held)


def _dispatched(host: Host) -> Step:
    return Step(StageEvent.DISPATCH, DISPATCH, f"on {host.name}")


def _for_taker(attempts: Iterable[Attempt], taker: Taker) -> list[Attempt]:
    """What one worker can take at once: one short stage, or all the instant ones, which hold up nobody."""
    suitable = [one for one in attempts if one.stage.queue == taker.queue and is_inline(one.stage.kind)]
    instant = [one for one in suitable if is_instant(one.stage.kind)]
    return instant or suitable[:1]


def _move(moves: Moves, attempts: Iterable[Attempt], *steps: Step) -> None:
    moves.stages({attempt.stage_id: attempt.number for attempt in attempts}, *steps, not_before=None)


def _keep(attempts: Collection[Attempt], **fields: Any) -> None:
    plain.update(Attempt, {"id": [attempt.pk for attempt in attempts]}, fields)
    _set(attempts, fields)


def _set(attempts: Iterable[Attempt], fields: Mapping[str, Any]) -> None:
    for attempt in attempts:
        for name, value in fields.items():
            setattr(attempt, name, value)


def _folder(host: Host, attempt: Attempt) -> str:
    """Work in the worker itself leaves no files."""
    return "" if is_inline(attempt.stage.kind) else attempt_path(host.root, attempt.stage_id, attempt.number)


def _send_on_commit(attempt: Attempt) -> None:
    attempt_id, queue = attempt.id, attempt.stage.queue
    transaction.on_commit(lambda: send_launch(attempt_id, queue), robust=True)


def requeue_at(tries: int) -> timedelta:
    """Exponential back-off before another try: 5 s, 10 s, 20 s, … to 5 min."""
    return timedelta(seconds=min(300, 5 * 2 ** max(0, tries - 1)))
