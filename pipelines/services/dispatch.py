"""Give queued stages their slots, and send the one message that starts each.

The database is the truth and the outbox; the message only makes it quick. A message that is lost is sent again by
the observer, one that is doubled meets the claim.
"""

from collections import Counter
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from environments import training
from environments.models import Host
from pipelines.folders import attempt_path
from pipelines.kinds import inline_names, is_inline, needs_training_environment
from pipelines.messages import send_launch
from pipelines.models import Attempt, Queue, Stage
from pipelines.states import STAGE_ACTIVE, PipelineStatus, StageEvent, StageStatus
from pipelines.transitions import move_stage

LOOKAHEAD: Final = 50
"""How far past the free slots of a queue dispatch looks when the first ones wait for a host."""


def dispatch() -> int:
    """Start what may start; how many stages were started. Cheap when nothing is queued."""
    if not _due().exists():
        return 0
    environments = {host.pk: training.state(host) for host in Host.objects.filter(enabled=True)}
    with transaction.atomic():
        queues = list(Queue.objects.select_for_update().order_by("-priority", "name"))
        hosts = list(Host.objects.select_for_update().filter(enabled=True).order_by("name"))
        busy = Stage.objects.filter(status__in=STAGE_ACTIVE)
        in_queue: Counter[str] = Counter(
            {row["queue"]: row["n"] for row in busy.values("queue").annotate(n=Count("id")).order_by()}
        )
        on_host: Counter[int | None] = Counter(
            Attempt.objects.filter(outcome="", stage__status__in=STAGE_ACTIVE)
            .exclude(stage__kind__in=inline_names())
            .values_list("host_id", flat=True)
        )
        started = 0
        for queue in queues:
            free = queue.slots - in_queue[queue.name]
            if free <= 0:
                continue
            waiting = _due().filter(queue=queue.name).order_by("-priority", "queued_at", "id")[: free + LOOKAHEAD]
            for stage in waiting:
                if free == 0:
                    break
                host, why = _place(stage, hosts, on_host, environments)
                if host is None:
                    _wait(stage, why)
                elif _start(stage, host):
                    free, started = free - 1, started + 1
                    on_host[host.pk] += not is_inline(stage.kind)
        return started


def _due() -> QuerySet[Stage]:
    now = timezone.now()
    return Stage.objects.filter(
        Q(not_before=None) | Q(not_before__lte=now),
        status=StageStatus.QUEUED,
        pipeline__status=PipelineStatus.RUNNING,
    )


def _place(
    stage: Stage,
    hosts: list[Host],
    on_host: Counter[int | None],
    environments: dict[int, training.TrainingState],
) -> tuple[Host | None, str]:
    """A host for the stage, or why there is none now."""
    why = _("no host is enabled")
    for host in hosts:
        if stage.host_id is not None and host.pk != stage.host_id:
            continue
        if is_inline(stage.kind):
            return host, ""
        if host.unreachable_since is not None:
            why = _("host %(host)s does not answer") % {"host": host.name}
        elif on_host[host.pk] >= host.slots:
            why = _("a free slot on %(host)s (%(busy)s of %(slots)s taken)") % {
                "host": host.name,
                "busy": on_host[host.pk],
                "slots": host.slots,
            }
        elif needs_training_environment(stage.kind) and not environments[host.pk].ready:
            state = environments[host.pk]
            done = f" ({state.percent} %)" if state.percent is not None else ""
            why = _("the training environment of %(host)s: %(state)s") % {
                "host": host.name,
                "state": f"{state.message}{done}",
            }
        else:
            return host, ""
    return None, why


def _wait(stage: Stage, why: str) -> None:
    if stage.waiting_for != why[:500]:
        Stage.objects.filter(pk=stage.pk, status=StageStatus.QUEUED).update(waiting_for=why[:500])


def _start(stage: Stage, host: Host) -> bool:
    attempt = Attempt.objects.filter(stage=stage, outcome="").first()
    if attempt is None:
        return False
    if not move_stage(
        stage.id,
        StageEvent.DISPATCH,
        actor="dispatch",
        reason=f"on {host.name}",
        attempt=attempt.number,
        not_before=None,
    ):
        return False
    Attempt.objects.filter(pk=attempt.pk).update(
        host=host, folder=attempt_path(host.root, stage.id, attempt.number), sent_at=timezone.now()
    )
    queue, attempt_id = stage.queue, attempt.id
    transaction.on_commit(lambda: send_launch(attempt_id, queue), robust=True)
    return True


def requeue_at(tries: int) -> timedelta:
    """Exponential back-off before another try: 5 s, 10 s, 20 s, … to 5 min."""
    return timedelta(seconds=min(300, 5 * 2 ** max(0, tries - 1)))
