"""What must never be on the hosts: processes of runs that are over, and metrics that nobody read."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from environments.models import Host
from environments.transports import Transport, TransportError, for_host
from monitoring import selectors as monitoring
from monitoring.models import Segment
from monitoring.services.sync import sync_stream
from pipelines.decide import START_DEADLINE_S
from pipelines.kinds import is_inline
from pipelines.models import Attempt, Job, Stage
from pipelines.services import silent
from pipelines.services.advance import advance
from pipelines.services.integrity_rows import ACTOR, Finding, open_attempt
from pipelines.states import STAGE_ACTIVE, STAGE_TERMINAL, Outcome, StageEvent, StageStatus
from pipelines.transitions import move_stage, touch_pipeline
from platform_site.common import clock

LATELY: Final = timedelta(days=1)
"""How long after its end the files of a run are looked at again."""
MOST_FILES: Final = 500
PATIENCE_S: Final = 600.0
"""How far past its deadline something may be before that is told: the observer has long judged by then."""


def orphans(limit: int) -> Iterator[Finding]:
    """At most one living process a stage: what carries the launch token of an attempt that is over, is ended."""
    for host in Host.objects.filter(unreachable_since=None):
        transport = for_host(host)
        try:
            alive = transport.bearers()
        except TransportError:
            continue
        over = Attempt.objects.select_related("stage").exclude(outcome="").exclude(folder="")
        for attempt in over.filter(host=host, launch_token__in=list(alive)[:limit]):
            try:
                survivors = transport.kill(attempt.folder)
            except TransportError as error:
                yield Finding("orphans", attempt, f"has processes though it is over: {error}", repaired=False)
                continue
            pids = ", ".join(str(pid) for pid in alive[attempt.launch_token])
            if survivors:
                yield Finding("orphans", attempt, f"is over, but {survivors} cannot be ended", repaired=False)
            else:
                yield Finding("orphans", attempt, f"had processes ({pids}) though it is over; ended")


def owed_ends(limit: int) -> Iterator[Finding]:
    """What was given up while its host was silent is ended there by the look that finds it back. None may stay."""
    for host in Host.objects.filter(
        unreachable_since=None, pk__in=Attempt.objects.filter(end_owed=True).values("host")
    ):
        transport = for_host(host)
        for attempt in silent.owed(host)[:limit]:
            try:
                done = silent.end_there(attempt, transport)
            except TransportError:
                break
            said = "was given up, and its host had not heard of it"
            yield Finding("owed_ends", attempt, f"{said}; ended" if done else said, repaired=done)


def active_without_attempt(limit: int) -> Iterator[Finding]:
    """Something can only run as an attempt. What the last one left is ended before the stage is."""
    stages: QuerySet[Stage] = Stage.objects.filter(~open_attempt(), status__in=STAGE_ACTIVE)
    for stage in stages[:limit]:
        last = Attempt.objects.select_related("host").filter(stage=stage).order_by("-number").first()
        if last is not None and last.host is not None and last.folder and not is_inline(stage.kind):
            try:
                survivors = for_host(last.host).kill(last.folder)
            except TransportError as error:
                yield Finding("active_without_attempt", stage, f"has no attempt, and {error}", repaired=False)
                continue
            if survivors:
                said = f"has no attempt, and {survivors} cannot be ended"
                yield Finding("active_without_attempt", stage, said, repaired=False)
                continue
        reason = "The platform lost its record of the attempt."
        ended = last.completed_at if last is not None and last.completed_at else timezone.now()
        if last is not None and last.outcome == Outcome.SUCCEEDED:
            moved = move_stage(stage.pk, StageEvent.COMPLETE, actor=ACTOR, completed_at=ended)
        elif stage.status == StageStatus.CANCELLING:
            moved = move_stage(stage.pk, StageEvent.CANCEL, actor=ACTOR, completed_at=ended)
        else:
            moved = move_stage(
                stage.pk, StageEvent.FAIL, actor=ACTOR, reason=reason, completed_at=ended, error_message=reason
            )
        if moved:
            advance(stage.pipeline_id, actor=ACTOR)
            now = Stage.objects.values_list("status", flat=True).get(pk=stage.pk)
            yield Finding("active_without_attempt", stage, f"was {stage.status} without an attempt; {now}")


def unread_metrics(limit: int) -> Iterator[Finding]:
    """No line that a training wrote before its end stays unread."""
    since = timezone.now() - LATELY
    jobs = Job.objects.select_related("stage").filter(
        stage__status__in=STAGE_TERMINAL, stage__completed_at__gte=since, stream__segments__isnull=False
    )
    for job in jobs.distinct().order_by("-stage__completed_at")[: min(limit, MOST_FILES)]:
        attempt = Attempt.objects.select_related("host").filter(stage=job.stage, host__isnull=False).last()
        if attempt is None or attempt.host is None or attempt.host.unreachable_since is not None:
            continue
        transport = for_host(attempt.host)
        try:
            if not any(_is_longer(segment, transport) for segment in Segment.objects.filter(stream_id=job.stream_id)):
                continue
            read = sync_stream(job.stream_id, transport).new_steps
        except (TransportError, OSError):
            continue
        if read:
            metrics, step = monitoring.final_metrics(job.stage_id), monitoring.last_step(job.stage_id)
            Job.objects.filter(pk=job.pk).update(final_metrics=metrics, final_step=step)
            touch_pipeline(job.stage.pipeline_id)
            yield Finding("unread_metrics", job.stage, f"had ended with {read} steps unread; read, to step {step}")


def _is_longer(segment: Segment, transport: Transport) -> bool:
    found = transport.stat(segment.path)
    return found is not None and found.size > segment.offset


def overdue(limit: int) -> Iterator[Finding]:
    """What is long past its deadline although an observer should have ended it: told, never guessed at."""
    for attempt in Attempt.objects.select_related("stage", "host").filter(
        outcome="", stage__status__in=STAGE_ACTIVE, host__isnull=False
    )[:limit]:
        stage, host = attempt.stage, attempt.host
        since, allowed = stage.changed_at, START_DEADLINE_S
        if stage.status == StageStatus.RUNNING:
            if stage.timeout_s is None:
                continue
            since, allowed = attempt.started_at, float(stage.timeout_s)
        late = (clock.age_s(since) if since is not None else clock.LONG_AGO_S) - allowed
        if late > PATIENCE_S and host is not None:
            why = f"host {host.name} does not answer" if host.unreachable_since else f"see the log of {attempt.folder}"
            yield Finding("overdue", stage, f"has been {stage.status} past its deadline; {why}", repaired=False)
