"""Run one recipe: a pipeline of one stage, started."""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from pipelines.models import Job
from pipelines.services import find, fork
from pipelines.services.control import start_pipeline
from pipelines.services.create import PipelineSpec, StageSpec, build
from platform_site.common import audit
from platform_site.common.errors import Invalid
from platform_site.common.models import User


def submit_job(
    *,
    user: User,
    recipe: str,
    dataset: str | None = None,
    host: str | None = None,
    overrides: dict[str, Any] | None = None,
    name: str = "",
    from_checkpoint: dict[str, Any] | None = None,
) -> Job:
    """Run a recipe; it is queued when this returns.

    `recipe`, `dataset`, `host` are slugs; `recipe` may name a revision, `slug@3`, and so may `dataset` a version.
    `from_checkpoint` is `{job, step}`: the run begins there, on the host where that is, and goes on from its step.
    Raises Invalid with what is wrong by field; nothing is left behind then.
    """
    revision = find.revision(user, recipe)
    version = find.dataset_version(user, dataset, revision)
    begun = fork.origin(user, from_checkpoint)
    find.refuse_without_environment(user, begun.host if begun else find.host(user, host))
    find.refuse_unsound(user, revision, version, overrides or {})
    if begun is not None:
        fork.refuse_unfit(begun, revision, version, overrides or {}, host)
    params = {
        "recipe": f"{revision.recipe.slug}@{revision.number}",
        "dataset": f"{version.dataset.slug}@{version.number}",
        "overrides": overrides or {},
        **({"host": host} if host else {}),
        **({fork.PARAM: {"job": str(begun.job.pk), "step": begun.step}} if begun else {}),
    }
    spec = PipelineSpec(name=name or revision.recipe.name, stages=[StageSpec("train", "train_model", params)])
    with transaction.atomic():
        pipeline = build(user, spec)
        job = Job.objects.select_related("stage").get(stage__pipeline=pipeline)
        audit.record("job.submit", user, job, recipe=params["recipe"], overrides=overrides or {})
        start_pipeline(pipeline.pk, user=user)
    return job


def rerun_job(
    *, user: User, job: Job, overrides: dict[str, Any] | None = None, from_checkpoint: dict[str, Any] | None = None
) -> Job:
    """The same revision, data and overrides once more, with `overrides` on top; an override of null is dropped.

    `from_checkpoint` as in `submit_job`; without it the run begins where the first one did.
    """
    if job.dataset_version is None:
        raise Invalid(_("The run has no dataset."), fields={"dataset": _("missing")})
    merged = {**job.overrides, **(overrides or {})}
    dropped = {key for key, value in (overrides or {}).items() if value is None}
    return submit_job(
        user=user,
        recipe=f"{job.recipe_revision.recipe.slug}@{job.recipe_revision.number}",
        dataset=f"{job.dataset_version.dataset.slug}@{job.dataset_version.number}",
        host=job.stage.host.name if job.stage.host else None,
        overrides={key: value for key, value in merged.items() if key not in dropped},
        name=job.name,
        from_checkpoint=from_checkpoint or began_from(job),
    )


def began_from(job: Job) -> dict[str, Any] | None:
    """The checkpoint that a run began from, as `submit_job` takes it."""
    return {"job": str(job.forked_from_id), "step": job.forked_step} if job.forked_from_id else None
