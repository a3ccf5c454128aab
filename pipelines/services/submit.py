"""From a wish to a pipeline in the database: checked whole, made whole, or not at all."""

import uuid
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from datasets.models import Dataset, DatasetVersion
from environments import training
from environments.models import Host
from monitoring.models import Stream
from pipelines.kinds.train_model import TrainModel
from pipelines.messages import send_dispatch
from pipelines.models import Job, Pipeline, Recipe, RecipeRevision, Stage
from pipelines.recipe_selectors import spec_of
from pipelines.recipes.validate import check
from pipelines.services.advance import advance
from pipelines.services.recipes import reference, refuse
from pipelines.states import PipelineEvent
from pipelines.transitions import move_pipeline
from platform_site.common import audit
from platform_site.common.errors import Invalid
from platform_site.common.models import User
from platform_site.common.roles import Role, role_of
from platform_site.common.selectors import projects_for


def submit_job(
    *,
    user: User,
    recipe: str,
    dataset: str | None = None,
    host: str | None = None,
    overrides: dict[str, Any] | None = None,
    name: str = "",
) -> Job:
    """Run a recipe: a pipeline of one stage, queued when this returns.

    `recipe`, `dataset`, `host` are slugs; `recipe` may name a revision, `slug@3`. Raises Invalid with what is
    wrong by field; nothing is left behind then.
    """
    revision = _revision(user, recipe)
    version = _dataset_version(user, dataset, revision)
    place = _host(user, host)
    overrides = overrides or {}
    _check(user, revision, version, overrides)
    with transaction.atomic():
        job = _create(user, revision, version, place, overrides, name or revision.recipe.name)
        move_pipeline(job.stage.pipeline_id, PipelineEvent.START, actor=user.get_username())
        advance(job.stage.pipeline_id, actor=user.get_username())
        audit.record("job.submit", user, job, recipe=str(revision.recipe.slug), overrides=overrides)
        transaction.on_commit(send_dispatch, robust=True)
    return job


def rerun_job(*, user: User, job: Job, overrides: dict[str, Any] | None = None) -> Job:
    """The same revision, data and overrides once more, with `overrides` on top; an override of null is dropped."""
    merged = {**job.overrides, **(overrides or {})}
    dropped = {key for key, value in (overrides or {}).items() if value is None}
    wanted = {key: value for key, value in merged.items() if key not in dropped}
    revision, version = job.recipe_revision, job.dataset_version
    if version is None:
        raise Invalid(_("The run has no dataset."), fields={"dataset": _("missing")})
    place = _host(user, job.stage.host.name if job.stage.host else None)
    _check(user, revision, version, wanted)
    with transaction.atomic():
        again = _create(user, revision, version, place, wanted, job.name)
        move_pipeline(again.stage.pipeline_id, PipelineEvent.START, actor=user.get_username())
        advance(again.stage.pipeline_id, actor=user.get_username())
        audit.record("job.rerun", user, again, of=str(job.pk), overrides=wanted)
        transaction.on_commit(send_dispatch, robust=True)
    return again


def _revision(user: User, recipe: str) -> RecipeRevision:
    slug, _at, number = recipe.partition("@")
    revisions = RecipeRevision.objects.select_related("recipe__project", "dataset").filter(
        recipe__slug=slug, recipe__project__in=projects_for(user)
    )
    if not revisions.exists():
        known = Recipe.objects.filter(project__in=projects_for(user)).order_by("slug").values_list("slug", flat=True)
        raise Invalid(
            _("There is no recipe %(slug)r. There are: %(known)s.") % {"slug": slug, "known": ", ".join(known[:20])},
            fields={"recipe": _("unknown")},
        )
    if number:
        revisions = revisions.filter(number=int(number)) if number.isdecimal() else revisions.none()
    found = revisions.order_by("-number").first()
    if found is None:
        raise Invalid(
            _("Recipe %(slug)s has no revision %(number)s.") % {"slug": slug, "number": number},
            fields={"recipe": _("unknown revision")},
        )
    return found


def _dataset_version(user: User, dataset: str | None, revision: RecipeRevision) -> DatasetVersion:
    slug, _at, number = (dataset or "").partition("@")
    if not slug:
        if revision.dataset is None:
            raise Invalid(_("This recipe names no dataset: choose one."), fields={"dataset": _("required")})
        slug = revision.dataset.slug
    visible = Dataset.objects.filter(project__in=projects_for(user))
    versions = DatasetVersion.objects.select_related("dataset").filter(dataset__in=visible.filter(slug=slug))
    if number:
        versions = versions.filter(number=int(number)) if number.isdecimal() else versions.none()
    found = versions.order_by("-number").first()
    if found is None:
        raise Invalid(
            _("There is no dataset version %(name)r. There are: %(known)s.")
            % {"name": dataset or slug, "known": ", ".join(visible.values_list("slug", flat=True)[:20])},
            fields={"dataset": _("unknown")},
        )
    return found


def _host(user: User, name: str | None) -> Host | None:
    hosts = Host.objects.filter(project__in=projects_for(user), enabled=True)
    if not name:
        candidates = list(hosts)
        chosen = None
    else:
        chosen = hosts.filter(name=name).first()
        if chosen is None:
            raise Invalid(
                _("There is no enabled host %(name)r. There are: %(known)s.")
                % {"name": name, "known": ", ".join(hosts.values_list("name", flat=True)[:20])},
                fields={"host": _("unknown")},
            )
        candidates = [chosen]
    # While it is being installed the stage waits; where it failed, waiting would never end.
    states = [training.state(found) for found in candidates]
    if not any(found.status in ("ready", "installing") for found in states):
        causes = "; ".join(dict.fromkeys(found.message for found in states)) or _("no host is enabled")
        raise Invalid(
            _("No host can train: %(causes)s") % {"causes": causes}, fields={"host": causes}, code="environment_missing"
        )
    return chosen


def _check(user: User, revision: RecipeRevision, version: DatasetVersion, overrides: dict[str, Any]) -> None:
    """The recipe with its overrides must be what the trainer takes."""
    checked = check(
        spec_of(revision).merged(overrides),
        dataset=reference(version),
        admin=role_of(user) == Role.ADMIN,
        inherited=revision.params,
    )
    refuse(checked.errors, overrides)


def _create(
    user: User,
    revision: RecipeRevision,
    version: DatasetVersion,
    host: Host | None,
    overrides: dict[str, Any],
    name: str,
) -> Job:
    project = revision.recipe.project
    kind = TrainModel()
    pipeline = Pipeline.objects.create(project=project, name=name, created_by=user)
    uid = uuid.uuid4()
    stage = Stage.objects.create(
        id=uid,
        pipeline=pipeline,
        name="train",
        kind=kind.name,
        queue=kind.queue,
        host=host,
        priority=pipeline.priority,
        params={
            "recipe": f"{revision.recipe.slug}@{revision.number}",
            "dataset": f"{version.dataset.slug}@{version.number}",
            "overrides": overrides,
        },
    )
    stream = Stream.objects.create(id=uid, project=project)
    return Job.objects.create(
        id=uid,
        stage=stage,
        stream=stream,
        project=project,
        name=name,
        recipe_revision=revision,
        dataset_version=version,
        overrides=overrides,
    )
