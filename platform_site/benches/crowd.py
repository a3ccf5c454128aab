"""A platform that has been used for long: many pipelines with their stages, runs, and one that is very long."""

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from environments.models import Host
from monitoring.models import Stream
from pipelines.models import Attempt, Job, Pipeline, RecipeRevision, Stage, Transition
from pipelines.states import Outcome, PipelineStatus, StageStatus

from .filled import fill
from .sandbox import Run

STAGES: Final = 10
TRAINED: Final = "train_model"
OTHER: Final = "noop"
STAGE_S: Final = 600.0
METRICS: Final = 25
BATCH: Final = 500


def add(pipelines: int, jobs: int) -> Pipeline:
    """That many pipelines, each a chain of ten stages that came to their end; of the newest, one has trained and one
    is still at it. Answers the newest."""
    host = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk")[0]
    revision = RecipeRevision.objects.select_related("recipe").order_by("pk")[0]
    now = timezone.now()
    made = [
        Pipeline(
            project=host.project,
            name=f"pipeline {n}",
            status=PipelineStatus.RUNNING if n % 50 == 49 else PipelineStatus.COMPLETED,
            started_at=now - timedelta(hours=pipelines - n),
            completed_at=None if n % 50 == 49 else now - timedelta(hours=pipelines - n - 2),
        )
        for n in range(pipelines)
    ]
    stages = [
        stage for n, pipeline in enumerate(made) for stage in _chain(pipeline, host, trains=n >= pipelines - jobs)
    ]
    trained = [stage for stage in stages if stage.kind == TRAINED]
    recipe = revision.recipe
    with transaction.atomic():
        Pipeline.objects.bulk_create(made, BATCH)
        Stage.objects.bulk_create(stages, BATCH)
        needs = Stage.depends_on.through
        pairs = [(stages[at], stages[at - 1]) for at in range(1, len(stages)) if stages[at].order]
        needs.objects.bulk_create([needs(from_stage=later, to_stage=earlier) for later, earlier in pairs], BATCH)
        Attempt.objects.bulk_create(_attempts(stages, host), BATCH)
        Transition.objects.bulk_create(_transitions(stages), BATCH)
        project = host.project
        Stream.objects.bulk_create(
            [Stream(id=one.pk, project=project, algorithm=recipe.algorithm, last_step=100) for one in trained], BATCH
        )
        Job.objects.bulk_create(
            [
                Job(
                    id=stage.pk,
                    stage=stage,
                    stream_id=stage.pk,
                    project=project,
                    name=f"run {n}",
                    recipe_revision=revision,
                    target_step=100,
                    final_step=100,
                    final_metrics={"train/loss": 1.5},
                )
                for n, stage in enumerate(trained)
            ],
            BATCH,
        )
    _look_at_tables()
    return made[-1]


def long_run(steps: int) -> UUID:
    """A run under way with so many steps stored."""
    run = Run(with_runner=False)
    run.end()
    fill(run.id, steps, METRICS)
    return run.id


def _chain(pipeline: Pipeline, host: Host, *, trains: bool) -> Iterable[Stage]:
    began = pipeline.started_at or timezone.now()
    for at in range(STAGES):
        is_last = at == STAGES - 1
        is_open = is_last and pipeline.status == PipelineStatus.RUNNING
        start = began + timedelta(seconds=at * STAGE_S)
        yield Stage(
            pipeline=pipeline,
            name=f"stage-{at}",
            order=at,
            kind=TRAINED if trains and not at else OTHER,
            queue="training" if trains and not at else "default",
            host=host,
            status=StageStatus.RUNNING if is_open else StageStatus.COMPLETED,
            queued_at=start,
            started_at=start,
            changed_at=start,
            completed_at=None if is_open else _end(start),
        )


def _attempts(stages: Iterable[Stage], host: Host) -> list[Attempt]:
    return [
        Attempt(
            stage=stage,
            number=1,
            host=host,
            launch_token=secrets.token_hex(16),
            started_at=stage.started_at,
            completed_at=stage.completed_at,
            outcome=Outcome.SUCCEEDED if stage.completed_at else "",
        )
        for stage in stages
    ]


def _transitions(stages: Iterable[Stage]) -> list[Transition]:
    path = (StageStatus.PENDING, StageStatus.QUEUED, StageStatus.RUNNING, StageStatus.COMPLETED)
    return [
        Transition(pipeline=stage.pipeline, stage=stage, attempt=1, from_status=before, to_status=after)
        for stage in stages
        for before, after in zip(path, path[1:] if stage.completed_at else path[1:3], strict=False)
    ]


def _end(start: datetime) -> datetime:
    return start + timedelta(seconds=STAGE_S)


def _look_at_tables() -> None:
    """What a database does by itself after a while."""
    with connection.cursor() as cursor:
        cursor.execute("analyze")
