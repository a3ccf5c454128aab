"""What worked: completed runs of an algorithm and a base model, the best first, each with its evidence."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from pipelines.models import Job, Recipe
from pipelines.recipe_selectors import spec_of
from pipelines.recipes.diff import same
from pipelines.recipes.spec import Json, RecipeSpec
from pipelines.recipes.trainers import TRAINERS
from pipelines.states import StageStatus
from platform_site.common.errors import Invalid
from platform_site.common.models import User
from platform_site.common.selectors import projects_for

LOOKED_AT: Final = 500
"""Newest completed runs that are compared."""
TOLD: Final = 10
HEALTHY: Final = 50
"""A run with a lower health score stands behind all that have more, whatever its metric."""

GOALS: Final[Mapping[str, tuple[tuple[str, bool], ...]]] = {
    "sft": (("val/loss", False), ("train/loss", False)),
    # The loss of DPO depends on its beta; how often the better answer is preferred does not.
    "dpo": (("train/rewards/accuracies", True), ("train/loss", False)),
    "grpo": (("critic/rewards/mean", True),),
}
"""Algorithm -> metrics that tell how good a run became, the most telling first; True: more is better."""


@dataclass(frozen=True)
class Worked:
    """A run that others can go by. Ranks count within a dataset, since values over other data say nothing.

    `runs` counts those with the same settings and data, of which this is the best. `params` are the settings that
    differ from the trainer's own defaults.
    """

    rank: int
    job: Job
    dataset: str | None
    metric: str | None
    value: float | None
    higher_is_better: bool
    health: int | None
    params: Mapping[str, Json]
    runs: int


def what_worked(user: User, algorithm: str, base_model: str = "", *, most: int = TOLD) -> list[Worked]:
    """By rank, and among equal ranks the newest first. Without a base model those of all. Raises Invalid for an
    algorithm that there is not."""
    if algorithm not in Recipe.Algorithm.values:
        known = ", ".join(Recipe.Algorithm.values)
        raise Invalid(
            _("There is no algorithm “%(name)s”. There are: %(known)s.") % {"name": algorithm[:50], "known": known},
            {"algorithm": _("unknown")},
        )
    by_dataset: dict[str | None, list[Job]] = {}
    for job in _completed(user, algorithm, base_model)[:LOOKED_AT]:
        version = job.dataset_version
        by_dataset.setdefault(version.dataset.slug if version is not None else None, []).append(job)
    found = [worked for dataset, jobs in by_dataset.items() for worked in _ranked(algorithm, dataset, jobs)]
    return sorted(found, key=lambda one: (one.rank, -one.job.created_at.timestamp()))[:most]


def _completed(user: User, algorithm: str, base_model: str) -> QuerySet[Job]:
    runs = Job.objects.filter(
        project__in=projects_for(user),
        stage__status=StageStatus.COMPLETED,
        recipe_revision__recipe__algorithm=algorithm,
    )
    if base_model:
        runs = runs.filter(recipe_revision__base_model=base_model)
    return (
        runs.select_related("recipe_revision__recipe", "dataset_version__dataset", "stream")
        .defer("config", "command", "checkpoints")
        .order_by("-created_at")
    )


def _ranked(algorithm: str, dataset: str | None, jobs: Sequence[Job]) -> list[Worked]:
    """Runs over one dataset. All are judged by one metric: the most telling one that any of them has."""
    metric, higher = next(
        ((name, more) for name, more in GOALS[algorithm] if any(_number(job, name) is not None for job in jobs)),
        (None, False),
    )

    def order(job: Job) -> tuple[bool, bool, float, int, float]:
        value = _number(job, metric)
        worth = 0.0 if value is None else -value if higher else value
        return (_is_sick(job), value is None, worth, -(job.health_score or 0), -job.created_at.timestamp())

    kept: dict[str, list[Job]] = {}
    for job in sorted(jobs, key=order):
        kept.setdefault(_identity(job), []).append(job)
    return [
        Worked(
            rank=rank,
            job=same_again[0],
            dataset=dataset,
            metric=metric,
            value=_number(same_again[0], metric),
            higher_is_better=higher,
            health=same_again[0].health_score,
            params=differing(_spec(same_again[0])),
            runs=len(same_again),
        )
        for rank, same_again in enumerate(kept.values(), start=1)
    ]


def _number(job: Job, metric: str | None) -> float | None:
    value = job.final_metrics.get(metric) if metric is not None else None
    # What is not finite is kept as text.
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _is_sick(job: Job) -> bool:
    return job.stream.has_anomaly or (job.health_score is not None and job.health_score < HEALTHY)


def _spec(job: Job) -> RecipeSpec:
    return spec_of(job.recipe_revision).merged(job.overrides)


def _identity(job: Job) -> str:
    """The same for runs that were asked for the same, over the same rows."""
    spec = _spec(job)
    settings = json.dumps(differing(spec), sort_keys=True)
    return f"{spec.trainer}\n{spec.base_model}\n{job.dataset_version_id}\n{settings}"


def differing(spec: RecipeSpec) -> dict[str, Json]:
    """The settings that are not the trainer's own defaults."""
    trainer = TRAINERS.get((spec.algorithm, spec.trainer))
    leaves = trainer.tree().leaves if trainer is not None else {}
    return {
        key: value
        for key, value in sorted(spec.params.items())
        if key not in leaves or not same(value, leaves[key].default)
    }


def best(found: Iterable[Worked], most: int) -> list[Worked]:
    """Those at the head that ended well by the metric: what a page shows in a few lines."""
    return [one for one in found if one.value is not None and not _is_sick(one.job)][:most]
