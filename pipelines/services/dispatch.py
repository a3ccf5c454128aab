"""Give queued stages their slots, and send the one message that starts each.

The database is the truth and the outbox; the message only makes it quick. A message that is lost is sent again by
the observer, one that is doubled meets the claim.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
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
from pipelines.services.places import Places
from pipelines.states import STAGE_ACTIVE, PipelineStatus, StageEvent, StageStatus
from pipelines.transitions import Moves, Step, moving, open_blocks

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
    only: Collection[str] | None = None, taker: Taker | None = None, first: Callable[[ExitStack], None] | None = None
) -> HandedOut:
    """Give the free slots of these queues (of all) to the highest priority, and the oldest within it.

    The rows of queues and hosts are locked: what is counted here stays so until the stages have moved. A pipeline's
    row comes after them, and is never held by who asks for them. `first` is what the taker has to end before it
    takes: in the same transaction, since one costs as much as a short stage. The blocks of moves that it opens stay
    open for what is taken of the same pipelines.
    """
    with transaction.atomic(), ExitStack() as kept:
        queues = Queue.objects.select_for_update().order_by("-priority", "name")
        locked = list(queues if only is None else queues.filter(pk__in=only))
        places = Places()
        if first is not None:
            places.lock()
            first(kept)
        busy = Stage.objects.filter(status__in=STAGE_ACTIVE).order_by().values_list("queue")
        in_queue = dict(busy.annotate(n=Count("id")))
        chosen: list[tuple[Stage, Host]] = []
        for queue in locked:
            free = queue.slots - in_queue.get(queue.name, 0)
            for stage in _candidates(queue, free, places, whole=only is None):
                host = places.take(stage)
                if host is not None:
                    chosen.append((stage, host))
                    free -= 1
                    if not free:
                        break
        if {stage.pipeline_id for stage, _host in chosen} - open_blocks():
            kept.close()  # written in the order in which it happened: what ended made room
        found = _start(chosen, places, taker)
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


def _candidates(queue: Queue, free: int, places: Places, *, whole: bool) -> Iterator[Stage]:
    """As many as there are slots, and further ones only when some of those found no host.

    GPUs are given out where all queues are looked at (`whole`): else a stage of one queue would take what is kept for
    one of another that has waited longer.
    """
    if free <= 0:
        return
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


def _start(chosen: Iterable[tuple[Stage, Host]], places: Places, taker: Taker | None) -> HandedOut:
    together: dict[tuple[UUID, int], list[Stage]] = defaultdict(list)
    hosts: dict[int, Host] = {}
    for stage, host in chosen:
        hosts[host.pk] = host
        together[stage.pipeline_id, host.pk].append(stage)
    found = HandedOut()
    for (pipeline_id, host_id), stages in together.items():
        _start_together(pipeline_id, hosts[host_id], stages, places, taker, found)
    return found


def _start_together(
    pipeline_id: UUID, host: Host, stages: list[Stage], places: Places, taker: Taker | None, found: HandedOut
) -> None:
    with moving(pipeline_id) as moves:
        if moves.pipeline is None or moves.pipeline.status != PipelineStatus.RUNNING:
            return
        by_id = {stage.pk: stage for stage in stages}
        # Looked up under the pipeline's lock: whatever was cancelled since it was chosen falls out here.
        attempts = list(Attempt.objects.filter(stage__in=by_id, stage__status=StageStatus.QUEUED, outcome=""))
        for attempt in attempts:
            attempt.stage = by_id[attempt.stage_id]
        mine = _for_taker(attempts, taker) if taker is not None and not found.taken else []
        dispatched = Step(StageEvent.DISPATCH, "dispatch", f"on {host.name}")
        if taker is not None and mine:
            _move(moves, mine, dispatched, Step(StageEvent.START, taker.worker))
            _keep(mine, host=host, sent_at=timezone.now(), **taker.fields())
            found.taken = mine
        others = [attempt for attempt in attempts if attempt not in mine]
        if others:
            _move(moves, others, dispatched)
        for attempt in others:
            gpus = list(places.given[attempt.stage_id])
            _keep([attempt], host=host, sent_at=timezone.now(), folder=_folder(host, attempt), gpus=gpus)
            _send_on_commit(attempt)
        gpu_leases.take(host, others, moves.pipeline.project_id)
        found.started += len(attempts)


def _for_taker(attempts: Iterable[Attempt], taker: Taker) -> list[Attempt]:
    """What one worker can take at once: one short stage, or all the instant ones, which hold up nobody."""
    suitable = [one for one in attempts if one.stage.queue == taker.queue and is_inline(one.stage.kind)]
    instant = [one for one in suitable if is_instant(one.stage.kind)]
    return instant or suitable[:1]


def _move(moves: Moves, attempts: Iterable[Attempt], *steps: Step) -> None:
    moves.stages({attempt.stage_id: attempt.number for attempt in attempts}, *steps, not_before=None)


def _keep(attempts: Collection[Attempt], **fields: Any) -> None:
    Attempt.objects.filter(pk__in=[attempt.pk for attempt in attempts]).update(**fields)
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
