"""What a user may see of pipelines, stages, jobs and tasks. Reading only; constant numbers of queries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Count, Prefetch, Q, QuerySet, prefetch_related_objects
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.models import Host
from monitoring.finding_selectors import Checkup, checkup
from monitoring.rollout_selectors import rolled_out
from platform_site.common.errors import NotFound
from platform_site.common.queues import STAGE_QUEUES
from platform_site.common.selectors import projects_for
from platform_site.common.workers import WorkerInfo, live_workers

from .models import Attempt, Job, Pipeline, Queue, Recipe, Stage, Transition
from .progress import Progress, progress_of
from .states import STAGE_ACTIVE, STAGE_TERMINAL, Outcome, StageStatus

MOST_NAMES: Final = 4
"""Of stages that another one waits for: it can be hundreds."""

Person = AbstractBaseUser | AnonymousUser


def needs_of_stages() -> Prefetch[str, QuerySet[Stage], str]:
    """Of the stages that another one needs, their names and statuses alone: hundreds can need hundreds."""
    return Prefetch("depends_on", Stage.objects.only("name", "status"))


def pipelines_for(user: Person) -> QuerySet[Pipeline]:
    """With all that their progress is worked out from, in a constant number of queries."""
    stages = (
        Stage.objects.order_by("order").select_related("job__stream").prefetch_related(needs_of_stages(), _attempts())
    )
    return (
        Pipeline.objects.filter(project__in=projects_for(user))
        .select_related("project")
        .prefetch_related(Prefetch("stages", stages))
    )


def _attempts(path: str = "attempts") -> Prefetch[str, QuerySet[Attempt], str]:
    return Prefetch(path, Attempt.objects.select_related("host").order_by("number"))


def pipeline_for(user: Person, pipeline_id: UUID) -> Pipeline:
    found = pipelines_for(user).filter(pk=pipeline_id).first()
    if found is None:
        raise NotFound(_("There is no such pipeline."))
    return found


def stages_of(pipeline: Pipeline) -> QuerySet[Stage]:
    """In order, each with its needs, its attempts and, for training, its job and stream."""
    return (
        Stage.objects.filter(pipeline=pipeline)
        .select_related("job__stream", "host")
        .prefetch_related(needs_of_stages(), _attempts())
        .order_by("order")
    )


def stage_for(user: Person, pipeline_id: UUID, name: str) -> Stage:
    stage = (
        Stage.objects.select_related("pipeline")
        .filter(pipeline_id=pipeline_id, name=name, pipeline__project__in=projects_for(user))
        .first()
    )
    if stage is None:
        raise NotFound(_("There is no such stage."))
    return stage


def transitions_of(pipeline: Pipeline) -> QuerySet[Transition]:
    return Transition.objects.filter(pipeline=pipeline).select_related("stage").order_by("id")


def jobs_for(user: Person) -> QuerySet[Job]:
    return (
        Job.objects.filter(project__in=projects_for(user))
        .select_related(
            "stage__pipeline",
            "stage__host",
            "stream",
            "recipe_revision__recipe",
            "dataset_version__dataset",
            "incident",
        )
        .prefetch_related(_attempts("stage__attempts"), "stream__segments", "forks")
    )


def job_for(user: Person, job_id: UUID) -> Job:
    found = jobs_for(user).filter(pk=job_id).first()
    if found is None:
        raise NotFound(_("There is no such run."))
    return found


def checkup_of(job: Job) -> Checkup:
    """What the doctor says of a run, with the runs that were started in answer to it."""
    found = checkup(job.stream)
    prefetch_related_objects([one.finding for one in found.findings], "runs")
    return found


def has_rollouts(job: Job) -> bool:
    """Whether a run keeps what its model answers: those that train by reward will, and whatever left some does."""
    return job.recipe_revision.recipe.algorithm == Recipe.Algorithm.GRPO or bool(rolled_out(job.stream_id))


def tasks_for(user: Person) -> QuerySet[Attempt]:
    return Attempt.objects.filter(stage__pipeline__project__in=projects_for(user)).select_related(
        "stage__pipeline", "host"
    )


def task_for(user: Person, task_id: UUID) -> Attempt:
    found = tasks_for(user).filter(pk=task_id).first()
    if found is None:
        raise NotFound(_("There is no such task."))
    return found


def folders_under_way() -> dict[Host, frozenset[str]]:
    """Of each host that is reached over a network and answers: the folders of its live attempts."""
    found: dict[Host, set[str]] = {}
    live = Attempt.objects.filter(outcome="", stage__status__in=STAGE_ACTIVE, host__unreachable_since=None)
    for attempt in live.exclude(folder="").exclude(host__kind=Host.Kind.LOCAL).select_related("host"):
        assert attempt.host is not None, "a condition on its host is met"
        found.setdefault(attempt.host, set()).add(attempt.folder)
    return {host: frozenset(folders) for host, folders in found.items()}


_OUTCOMES: Final = {
    StageStatus.COMPLETED: [Outcome.SUCCEEDED],
    StageStatus.FAILED: [Outcome.FAILED, Outcome.LOST],
    StageStatus.CANCELLED: [Outcome.CANCELLED],
}


def in_state(state: StageStatus) -> Q:
    """Attempts in that state: of an open one it is its stage's status, of a closed one its outcome."""
    return Q(outcome__in=_OUTCOMES.get(state, [])) | Q(outcome="", stage__status=state)


def task_state(attempt: Attempt) -> str:
    """An attempt's state in the words of a stage's status: its outcome, or what its stage does now."""
    return {"succeeded": "completed", "lost": "failed"}.get(attempt.outcome, attempt.outcome) or attempt.stage.status


def duration_s(started: datetime | None, completed: datetime | None) -> float | None:
    """Seconds from the start to the end, or to now; None before the start."""
    if started is None:
        return None
    return round(max(0.0, ((completed or timezone.now()) - started).total_seconds()), 3)


def stage_progress(stage: Stage) -> Progress:
    """Of a stage with its job, stream and attempts at hand. Without a job it is what the latest attempt said."""
    job = getattr(stage, "job", None)
    if job is not None:
        return progress_of(
            stage.status,
            step=job.stream.last_step,
            target_step=job.target_step or job.stream.target_step,
            pace_s=job.stream.pace_s,
            seen_at=job.stream.updated_at,
            now=timezone.now(),
        )
    attempts = list(stage.attempts.all())
    current = attempts[-1] if attempts else None
    return progress_of(
        stage.status,
        step=current.progress_done if current is not None else None,
        target_step=current.progress_total if current is not None else None,
        pace_s=current.progress_pace_s if current is not None else None,
        seen_at=current.progress_at if current is not None else None,
        now=timezone.now(),
        unit=(current.progress_unit if current is not None else "") or "step",
    )


@dataclass(frozen=True)
class PipelineProgress:
    """`fraction` 0-1, None without stages; `eta_s` seconds, None where nobody can tell."""

    fraction: float | None
    eta_s: float | None
    completed: int
    total: int


def pipeline_progress(pipeline: Pipeline) -> PipelineProgress:
    """The mean of its stages; a stage whose progress is unknown counts by what is certain: 0 or 1. What is left is
    known only when one stage is left and it knows: what has not begun cannot be estimated."""
    stages = list(pipeline.stages.all())
    known = [stage_progress(stage) for stage in stages]
    left = [found for stage, found in zip(stages, known, strict=True) if stage.completed_at is None]
    return PipelineProgress(
        fraction=sum(found.fraction or 0.0 for found in known) / len(known) if known else None,
        eta_s=left[0].eta_s if len(left) == 1 else None,
        completed=sum(stage.status == StageStatus.COMPLETED for stage in stages),
        total=len(stages),
    )


def waiting_for(stage: Stage) -> str:
    """Why a stage does not run yet, or does not go on: its host is silent; empty when it does not wait."""
    if stage.status in STAGE_ACTIVE:
        return stage.waiting_for
    if stage.status == StageStatus.PENDING:
        needs = [above.name for above in stage.depends_on.all() if above.status != StageStatus.COMPLETED]
        if len(needs) > MOST_NAMES:
            told = _("stages: %(names)s and %(more)s more")
            return told % {"names": ", ".join(needs[:MOST_NAMES]), "more": len(needs) - MOST_NAMES}
        return _("stages: %(names)s") % {"names": ", ".join(needs)} if needs else _("the start of its pipeline")
    if stage.status != StageStatus.QUEUED:
        return ""
    if stage.not_before and stage.not_before > timezone.now():
        return _("its next try at %(time)s") % {"time": stage.not_before.isoformat(timespec="seconds")}
    return stage.waiting_for or _("a free slot in queue %(queue)s") % {"queue": stage.queue}


@dataclass(frozen=True)
class QueueLoad:
    name: str
    priority: int
    pending: int
    running: int
    capacity: int


@dataclass(frozen=True)
class Overview:
    running: int
    pending: int
    completed_today: int
    failed_today: int
    workers: list[WorkerInfo]
    queues: list[QueueLoad]


def overview(user: Person) -> Overview:
    """The numbers of the tasks page. "Today" begins at midnight of the platform's time zone."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    stages = Stage.objects.filter(pipeline__project__in=projects_for(user))
    by_queue = {
        row["queue"]: (row["pending"], row["running"])
        for row in stages.filter(status__in=[StageStatus.QUEUED, *STAGE_ACTIVE])
        .values("queue")
        .annotate(
            pending=Count("id", filter=Q(status=StageStatus.QUEUED)),
            running=Count("id", filter=~Q(status=StageStatus.QUEUED)),
        )
        .order_by()
    }
    today = stages.filter(status__in=STAGE_TERMINAL, completed_at__gte=midnight).aggregate(
        completed=Count("id", filter=Q(status=StageStatus.COMPLETED)),
        failed=Count("id", filter=Q(status=StageStatus.FAILED)),
    )
    queues = [
        QueueLoad(
            name=queue.name,
            priority=queue.priority,
            pending=by_queue.get(queue.name, (0, 0))[0],
            running=by_queue.get(queue.name, (0, 0))[1],
            capacity=queue.slots,
        )
        for queue in Queue.objects.filter(name__in=STAGE_QUEUES).order_by("-priority")
    ]
    return Overview(
        running=sum(queue.running for queue in queues),
        pending=sum(queue.pending for queue in queues),
        completed_today=today["completed"],
        failed_today=today["failed"],
        workers=live_workers(),
        queues=queues,
    )
