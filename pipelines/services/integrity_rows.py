"""What must never stand in the database, found and repaired from the database alone.

Each check is a query that finds offenders only, and each repair is guarded, so that passes at the same time, or one
that slept, do nothing twice. What a check says was done, its own update did.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, Max, Min, Model, OuterRef, Q, QuerySet
from django.utils import timezone

from environments.transports import TransportError, for_host
from monitoring import selectors as monitoring
from pipelines.kinds import Verdict
from pipelines.models import Attempt, Job, Pipeline, Stage, Transition
from pipelines.services import finish
from pipelines.services.advance import advance, new_attempt
from pipelines.services.dispatch import requeue_at
from pipelines.states import (
    PIPELINE_TERMINAL,
    STAGE_ACTIVE,
    STAGE_TERMINAL,
    Outcome,
    PipelineEvent,
    PipelineStatus,
    StageStatus,
)
from pipelines.transitions import moving, touch_pipeline
from platform_site.common import clock

ACTOR: Final = "integrity"
LONGEST_WAIT: Final = requeue_at(100)
OUTCOMES: Final = {
    StageStatus.COMPLETED: Outcome.SUCCEEDED,
    StageStatus.FAILED: Outcome.FAILED,
    StageStatus.CANCELLED: Outcome.CANCELLED,
    StageStatus.SKIPPED: Outcome.CANCELLED,
}


@dataclass(frozen=True)
class Finding:
    """`what` names the kind of fault; `said` tells in words what it was and what was done about it."""

    what: str
    target: Model
    said: str
    repaired: bool = True


def open_attempt() -> Exists:
    """Of a stage in a query: whether it has an open attempt."""
    return Exists(Attempt.objects.filter(stage=OuterRef("pk"), outcome=""))


def _unended_stage() -> Exists:
    return Exists(Stage.objects.filter(pipeline=OuterRef("pk")).exclude(status__in=STAGE_TERMINAL))


def open_attempts_of_ended_stages(limit: int) -> Iterator[Finding]:
    """An ended stage has no open attempt: it would look like a task that runs."""
    found = Attempt.objects.select_related("stage").filter(outcome="", stage__status__in=STAGE_TERMINAL)
    for attempt in found[:limit]:
        status = StageStatus(attempt.stage.status)
        with transaction.atomic():
            # Two tables in one condition: an update that waited for another one's row would not look at both again.
            Pipeline.objects.select_for_update().get(pk=attempt.stage.pipeline_id)
            done = Attempt.objects.filter(pk=attempt.pk, outcome="", stage__status=status).update(
                outcome=OUTCOMES[status], completed_at=attempt.stage.completed_at or timezone.now()
            )
            if done:
                touch_pipeline(attempt.stage.pipeline_id)
        if done:
            yield Finding("open_attempt", attempt, f"was open though its stage is {status}; closed")


def queued_without_attempt(limit: int) -> Iterator[Finding]:
    """A queued stage without an attempt is never dispatched."""
    for stage in Stage.objects.filter(~open_attempt(), status=StageStatus.QUEUED)[:limit]:
        with transaction.atomic():
            # The pipeline's row first, as every move does.
            Pipeline.objects.select_for_update().get(pk=stage.pipeline_id)
            if not Stage.objects.filter(~open_attempt(), pk=stage.pk, status=StageStatus.QUEUED).exists():
                continue
            number = new_attempt(stage.pk).number
        yield Finding("queued_without_attempt", stage, f"was queued without an attempt; attempt {number} made")


def active_without_host(limit: int) -> Iterator[Finding]:
    """An attempt that runs nowhere is seen by no observer."""
    found = Attempt.objects.select_related("stage").filter(outcome="", host=None, stage__status__in=STAGE_ACTIVE)
    for attempt in found[:limit]:
        if attempt.stage.status == StageStatus.CANCELLING:
            done, what = finish.cancelled(attempt, Verdict(False), {}), "cancelled"
        else:
            verdict = Verdict(False, "The platform lost its record of where it ran.")
            done, what = finish.requeue(attempt, Outcome.LOST, verdict, {}, delay=timedelta(seconds=1)), "queued again"
        if done:
            yield Finding("active_without_host", attempt.stage, f"was active without a host; {what}")


def waiting_for_nothing(limit: int) -> Iterator[Finding]:
    """A stage of a running pipeline waits only while something it needs has not ended."""
    unended = Stage.objects.filter(dependants=OuterRef("pk")).exclude(status__in=STAGE_TERMINAL)
    found = Stage.objects.filter(
        ~Exists(unended), status=StageStatus.PENDING, pipeline__status=PipelineStatus.RUNNING
    ).order_by("pipeline")
    for pipeline_id, stages in groupby(list(found[:limit]), key=lambda stage: stage.pipeline_id):
        by_id = {stage.pk: stage for stage in stages}
        those = Stage.objects.filter(pk__in=by_id)
        with moving(pipeline_id):
            # Those that another pass was first with are its to tell of.
            waiting = list(those.filter(status=StageStatus.PENDING).values_list("pk", flat=True))
            advance(pipeline_id, actor=ACTOR)
            now = dict(those.filter(pk__in=waiting).exclude(status=StageStatus.PENDING).values_list("pk", "status"))
        for pk, status in now.items():
            yield Finding("waiting_for_nothing", by_id[pk], f"waited though all it needs has ended; {status}")


def not_before_out_of_reach(limit: int) -> Iterator[Finding]:
    """No pause before another try is so long: it was set before the clock was set back."""
    far = Stage.objects.filter(status=StageStatus.QUEUED, not_before__gt=clock.out_of_reach(LONGEST_WAIT))
    for stage in far[:limit]:
        if far.filter(pk=stage.pk).update(not_before=timezone.now()):
            yield Finding("not_before", stage, f"was not to be tried before {stage.not_before}; due now")


def ended_without_times(limit: int) -> Iterator[Finding]:
    """What ended has an end, and what started a duration above zero."""
    wrong = (
        Q(completed_at=None)
        | Q(started_at__isnull=False, completed_at__lte=F("started_at"))
        | Q(status=StageStatus.COMPLETED, started_at=None)
    )
    for stage in Stage.objects.filter(wrong, status__in=STAGE_TERMINAL)[:limit]:
        started, completed = _times(stage)
        done = Stage.objects.filter(wrong, pk=stage.pk, status=stage.status).update(
            started_at=started, completed_at=completed
        )
        if done:
            touch_pipeline(stage.pipeline_id)
            yield Finding("times", stage, f"ended without a start, an end or a duration; {started} to {completed}")


def _times(stage: Stage) -> tuple[datetime | None, datetime]:
    """From the run's own record, else from its attempts, else from the moves of the stage."""
    attempt = Attempt.objects.select_related("host").filter(stage=stage).order_by("-number").first()
    started = completed = None
    if attempt is not None and attempt.host is not None and attempt.folder:
        try:
            probe = for_host(attempt.host).probe([attempt.folder])[0]
        except TransportError:
            probe = {}
        if probe.get("exit"):
            told = finish.times_of(probe, attempt)
            started, completed = told.started_at, told.completed_at
    attempts = Attempt.objects.filter(stage=stage).aggregate(first=Min("started_at"), last=Max("completed_at"))
    moves = Transition.objects.filter(stage=stage)
    ended = moves.filter(to_status=stage.status).aggregate(at=Max("at"))["at"]
    begun = moves.filter(to_status=StageStatus.RUNNING).aggregate(at=Min("at"))["at"]
    completed = completed or attempts["last"] or ended or timezone.now()
    started = stage.started_at or attempts["first"] or started or begun
    if started is None and stage.status == StageStatus.COMPLETED:
        started = completed - timedelta(milliseconds=1)
    if started is not None:
        completed = max(completed, started + timedelta(milliseconds=1))
    return started, completed


def without_final_metrics(limit: int) -> Iterator[Finding]:
    """An ended training has the last values of what it logged."""
    found = Job.objects.select_related("stage").filter(
        final_step=None, stream__last_step__isnull=False, stage__status__in=STAGE_TERMINAL
    )
    for job in found[:limit]:
        metrics, step = monitoring.final_metrics(job.stage_id), monitoring.last_step(job.stage_id)
        with transaction.atomic():
            if not Job.objects.filter(pk=job.pk, final_step=None).update(final_metrics=metrics, final_step=step):
                continue
            result = {**(job.stage.result or {}), "metrics": metrics, "final_step": step}
            Stage.objects.filter(pk=job.stage_id, status__in=STAGE_TERMINAL).update(result=result)
            touch_pipeline(job.stage.pipeline_id)
        yield Finding("final_metrics", job.stage, f"ended without its final metrics; those of step {step} kept")


def pipelines_that_should_have_ended(limit: int) -> Iterator[Finding]:
    """A pipeline ends with its last stage."""
    found: QuerySet[Pipeline] = Pipeline.objects.filter(~_unended_stage()).exclude(status__in=PIPELINE_TERMINAL)
    for pipeline in found[:limit]:
        with moving(pipeline.pk) as moves:
            if moves.pipeline is None or moves.pipeline.status != pipeline.status:
                continue
            if pipeline.status == PipelineStatus.PENDING:
                moves.whole(PipelineEvent.CANCEL, actor=ACTOR)
            else:
                advance(pipeline.pk, actor=ACTOR)
            now = moves.pipeline.status
        if now != pipeline.status:
            yield Finding("pipeline_not_ended", pipeline, f"was {pipeline.status} with all its stages ended; {now}")


def pipelines_ended_without_time(limit: int) -> Iterator[Finding]:
    for pipeline in Pipeline.objects.filter(completed_at=None, status__in=PIPELINE_TERMINAL)[:limit]:
        ended = pipeline.stages.aggregate(last=Max("completed_at"))["last"] or timezone.now()
        if Pipeline.objects.filter(pk=pipeline.pk, completed_at=None).update(completed_at=ended):
            touch_pipeline(pipeline.pk)
            yield Finding("pipeline_time", pipeline, f"had ended without a time; {ended}")
