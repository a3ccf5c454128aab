"""Runs that have ended, with their metrics read from real files, for what looks back at them."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from environments.transports.local import LocalTransport
from monitoring.models import Stream
from monitoring.services.diagnose import refresh
from monitoring.services.sync import open_segment, sync_stream
from pipelines.models import Attempt, Job, Recipe, RecipeRevision
from pipelines.services.learn import learn_from
from pipelines.states import Outcome, PipelineStatus, StageStatus

from . import builders

STEP_S = 10.0
OUTCOMES = {StageStatus.COMPLETED: Outcome.SUCCEEDED, StageStatus.CANCELLED: Outcome.CANCELLED}


def revision_of(algorithm: str = "grpo", base_model: str = "m") -> RecipeRevision:
    recipe, _ = Recipe.objects.get_or_create(
        slug=f"past-{algorithm}", defaults={"project": builders.project(), "name": "Past", "algorithm": algorithm}
    )
    number = recipe.revisions.count() + 1
    found = recipe.revisions.filter(base_model=base_model).first()
    return found or RecipeRevision.objects.create(recipe=recipe, number=number, base_model=base_model)


def past_run(
    folder: Path,
    status: StageStatus,
    *tries: Mapping[str, Sequence[float | str | None]],
    name: str = "a run",
    algorithm: str = "grpo",
    base_model: str = "m",
    gpus: int = 0,
    resumed_from: int | None = None,
    days_ago: float = 1.0,
) -> Job:
    """Each of `tries` are the columns of an attempt; a step takes 10 s, and an attempt ends 10 s after its last one.

    The second attempt goes on from `resumed_from`.
    """
    began = timezone.now() - timedelta(days=days_ago)
    stage = builders.stage(status, of=builders.pipeline(PipelineStatus.COMPLETED), started_at=began)
    stream = Stream.objects.create(id=stage.pk, project=builders.project(), algorithm=algorithm, trainer="verl")
    job = Job.objects.create(
        id=stage.pk, stage=stage, stream=stream, project=builders.project(), name=name,
        recipe_revision=revision_of(algorithm, base_model),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for number, columns in enumerate(tries, start=1):
        first = 1 if number == 1 or resumed_from is None else resumed_from + 1
        length = max(len(column) for column in columns.values())
        ended = began + timedelta(seconds=STEP_S * (length + 1))
        Attempt.objects.update_or_create(
            stage=stage,
            number=number,
            defaults={
                "started_at": began,
                "completed_at": ended,
                "gpus": list(range(gpus)),
                "outcome": OUTCOMES.get(status, Outcome.FAILED) if number == len(tries) else Outcome.FAILED,
            },
        )
        path = folder / f"{stage.pk}-{number}.jsonl"
        with path.open("w") as file:
            for n in range(length):
                values = {
                    key: column[n] for key, column in columns.items() if n < len(column) and column[n] is not None
                }
                at = (began + timedelta(seconds=STEP_S * (n + 1))).timestamp()
                file.write(json.dumps({"v": 1, "step": first + n, "time": at, "metrics": values}) + "\n")
        open_segment(stage.pk, attempt=number, path=str(path), resumed_from=resumed_from if number > 1 else None)
        sync_stream(stage.pk, LocalTransport())
        refresh(stage.pk)
        began = ended
    stage.completed_at = began
    stage.save(update_fields=["completed_at"])
    stream.refresh_from_db()
    return job


def learnt_runs(
    folder: Path,
    count: int,
    columns: Mapping[str, Sequence[float | str | None]],
    *,
    status: StageStatus = StageStatus.COMPLETED,
    **about: Any,
) -> list[Job]:
    """Runs that have been read for what they teach."""
    found = [past_run(folder, status, columns, **about) for _ in range(count)]
    for job in found:
        learn_from(job.pk)
    return found
