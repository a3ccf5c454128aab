"""Making, revising, checking, previewing and deleting recipes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from datasets.models import Dataset, DatasetVersion
from datasets.services.store import path_of
from environments import training
from environments.models import Host
from pipelines.folders import attempt_path, models_folder
from pipelines.models import Job, Recipe, RecipeRevision
from pipelines.recipe_selectors import latest, spec_of
from pipelines.recipes import validate
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import (
    Checked,
    Compiled,
    DatasetRef,
    Json,
    Place,
    Problem,
    RecipeError,
    RecipeSpec,
    gettext_noop,
)
from platform_runtime.contract import RunFolder
from platform_site.common import audit
from platform_site.common.errors import Conflict, Forbidden, Invalid, NotFound
from platform_site.common.models import Project, User
from platform_site.common.naming import slug_from
from platform_site.common.paths import slug as valid_slug
from platform_site.common.selectors import projects_for

PREVIEW: Final = UUID(int=0)
"""Stands in paths where a run would have its uuid."""


@dataclass(frozen=True)
class Draft:
    """A recipe as somebody wrote it. `slug` may be empty: then it is made from the name."""

    name: str
    algorithm: str
    trainer: str
    base_model: str
    params: Mapping[str, Json]
    slug: str = ""
    description: str = ""
    dataset: str | None = None
    derived_from: str | None = None
    on_critical: str = Recipe.OnCritical.STOP
    on_stall: str = Recipe.OnStall.NOTIFY

    @property
    def spec(self) -> RecipeSpec:
        return RecipeSpec(
            self.slug or slug_from(self.name, "recipe"), self.algorithm, self.trainer, self.base_model, self.params
        )


def check_draft(user: User, draft: Draft, *, admin: bool) -> Checked:
    """What is wrong with a recipe, its dataset included where it names one. Keeps nothing."""
    dataset, problems = None, []
    if draft.dataset:
        version = _newest_version(user, draft.dataset)
        if version is None:
            problems.append(Problem("dataset", gettext_noop("There is no such dataset, or it has no version.")))
        else:
            dataset = reference(version)
    found = validate.check(draft.spec, dataset=dataset, admin=admin)
    return replace(found, errors=(*problems, *found.errors))


def check_revision(revision: RecipeRevision) -> Checked:
    """What is wrong with a revision as it is kept, by the trainer that is installed now. Permission was judged when
    it was saved."""
    version = _last_version(revision.dataset) if revision.dataset is not None else None
    data = reference(version) if version is not None else None
    return validate.check(spec_of(revision), dataset=data, admin=True)


def create_recipe(*, user: User, draft: Draft, admin: bool) -> Recipe:
    """A recipe with its first revision. Raises Invalid with every problem, Conflict when the slug is taken."""
    slug = valid_slug(draft.spec.slug)
    refuse(check_draft(user, draft, admin=admin).errors)
    project = _project(user)
    origin = None
    if draft.derived_from:
        origin = Recipe.objects.filter(project__in=projects_for(user), slug=draft.derived_from).first()
        if origin is None:
            raise Invalid(_("There is no recipe to derive from by that name."), {"derived_from": _("unknown")})
    try:
        with transaction.atomic():
            recipe = Recipe.objects.create(
                project=project,
                slug=slug,
                name=draft.name,
                algorithm=draft.algorithm,
                trainer=draft.trainer,
                description=draft.description,
                on_critical=draft.on_critical,
                on_stall=draft.on_stall,
                derived_from=origin,
                created_by=user,
            )
            _add_revision(recipe, 1, user, draft.base_model, draft.params, _dataset(user, draft.dataset))
            audit.record("recipe.create", user, recipe, slug=slug)
    except IntegrityError:
        message = _("There is a recipe “%(slug)s” already. Choose another name.") % {"slug": slug}
        raise Conflict(message, {"slug": message}, code="name_taken") from None
    return recipe


@transaction.atomic
def revise_recipe(*, user: User, recipe: Recipe, revision: int, changes: Mapping[str, Any], admin: bool) -> Recipe:
    """Applies changes to the newest revision, which must be `revision`.

    New content makes a new revision; name, description and what findings do to runs are the recipe's own. Raises
    Conflict when somebody else revised it meanwhile, Forbidden for built-in recipes, Invalid.
    """
    _refuse_builtin(recipe)
    if not Recipe.objects.select_for_update().filter(pk=recipe.pk).exists():
        raise NotFound(_("There is no such recipe."))
    recipe.refresh_from_db()
    old = recipe.revisions.select_related("recipe", "dataset").order_by("-number").first()
    if old is None or old.number != revision:
        message = _("The recipe is at revision %(now)s, not %(named)s: somebody changed it. Load it again.")
        raise Conflict(
            message % {"now": old.number if old else 0, "named": revision},
            {"revision": _("stale")},
            code="stale_revision",
        )
    for name in OWN:
        if name in changes:
            setattr(recipe, name, changes[name])
    recipe.save(update_fields=OWN)
    base_model, params = changes.get("base_model", old.base_model), changes.get("params", old.params)
    dataset = _dataset(user, changes["dataset"]) if "dataset" in changes else old.dataset
    if (base_model, params, dataset) != (old.base_model, old.params, old.dataset):
        spec = replace(spec_of(old), base_model=base_model, params=params)
        version = _last_version(dataset) if dataset is not None else None
        data = reference(version) if version is not None else None
        refuse(validate.check(spec, dataset=data, admin=admin, inherited=old.params).errors)
        _add_revision(recipe, old.number + 1, user, base_model, params, dataset)
    audit.record("recipe.revise", user, recipe, slug=recipe.slug, changed=sorted(changes))
    return recipe


@transaction.atomic
def delete_recipe(*, user: User, recipe: Recipe) -> None:
    """Raises Forbidden for built-in recipes and Conflict for one that was ever run: its runs point to it."""
    _refuse_builtin(recipe)
    runs = Job.objects.filter(recipe_revision__recipe=recipe).count()
    if runs:
        message = _("The recipe has been run %(count)d times. What was run is kept.") % {"count": runs}
        raise Conflict(message, code="in_use")
    audit.record("recipe.delete", user, recipe, slug=recipe.slug)
    RecipeRevision.objects.filter(recipe=recipe).delete()
    recipe.delete()


def preview(
    *,
    user: User,
    recipe: Recipe,
    dataset: str | None = None,
    host: str | None = None,
    overrides: Mapping[str, Json] | None = None,
    admin: bool,
) -> Compiled:
    """What a run would be started with. Nothing is written and nothing is started; the uuid is all zeros.

    Raises Invalid.
    """
    revision = latest(recipe)
    name = dataset or (revision.dataset.slug if revision.dataset else None)
    version = _newest_version(user, name) if name else None
    if version is None:
        problem = _("There is no such dataset.") if name else _("The recipe names no dataset: choose one.")
        raise Invalid(problem, {"dataset": problem})
    spec = spec_of(revision).merged(overrides)
    data = reference(version)
    refuse(validate.check(spec, dataset=data, admin=admin, inherited=revision.params).errors, overrides or {})
    try:
        return compile_recipe(spec, data, _place(_host(user, host), validate.resources_of(spec).gpus))
    except RecipeError as error:
        refuse(error.problems, overrides or {})
        raise


def reference(version: DatasetVersion) -> DatasetRef:
    """A version as checks and previews take it, at its place in the store."""
    return DatasetRef(
        path=str(path_of(version.sha256, version.format)),
        rows=version.rows,
        kind=version.dataset.kind,
        sha256=version.sha256,
    )


def told(problem: Problem) -> str:
    """A problem in the reader's language."""
    return _(problem.template) % problem.values if problem.values else _(problem.template)


def refuse(problems: Iterable[Problem], overrides: Mapping[str, Json] | None = None) -> None:
    """Raises Invalid if there are any: all of them, each at its field."""
    problems = list(problems)
    if problems:
        raise refusal(problems, overrides)


def refusal(problems: Iterable[Problem], overrides: Mapping[str, Json] | None = None) -> Invalid:
    """The error that tells at least one problem."""
    fields: dict[str, list[str]] = {}
    for problem in problems:
        where = problem.key
        if where not in FIELDS:
            where = f"{'overrides' if where in (overrides or {}) else 'params'}.{where}"
        hint = " " + _("Did you mean %(meant)s?") % {"meant": problem.suggestion} if problem.suggestion else ""
        fields.setdefault(where, []).append(told(problem) + hint)
    first, messages = next(iter(fields.items()))
    return Invalid(f"{first}: {messages[0]}", fields, code="invalid_recipe")


OWN: Final = ("name", "description", "on_critical", "on_stall")
"""Fields of the recipe itself: changing them makes no revision."""
FIELDS: Final = frozenset({"algorithm", "trainer", "base_model", "dataset", "params"})
"""Keys of problems that are fields of the recipe itself rather than parameters."""


def _refuse_builtin(recipe: Recipe) -> None:
    if recipe.is_template:
        raise Forbidden(_("Built-in recipes do not change. Derive one of your own from it."), code="built_in")


def _add_revision(
    recipe: Recipe,
    number: int,
    user: User | None,
    base_model: str,
    params: Mapping[str, Json],
    dataset: Dataset | None,
) -> RecipeRevision:
    return RecipeRevision.objects.create(
        recipe=recipe, number=number, base_model=base_model, params=dict(params), dataset=dataset, created_by=user
    )


def _project(user: User) -> Project:
    project = projects_for(user).order_by("id").first()
    if project is None:
        raise Invalid(_("There is no project yet. Run manage.py install_builtins."))
    return project


def _dataset(user: User, slug: str | None) -> Dataset | None:
    if not slug:
        return None
    found = Dataset.objects.filter(project__in=projects_for(user), slug=slug).first()
    if found is None:
        raise Invalid(_("There is no such dataset."), {"dataset": _("unknown")})
    return found


def _newest_version(user: User, name: str) -> DatasetVersion | None:
    """The version that `slug` or `slug@number` names."""
    slug, _at, number = name.partition("@")
    versions = DatasetVersion.objects.select_related("dataset").filter(
        dataset__slug=slug, dataset__project__in=projects_for(user)
    )
    if number:
        versions = versions.filter(number=int(number)) if number.isdecimal() else versions.none()
    return versions.order_by("-number").first()


def _last_version(dataset: Dataset) -> DatasetVersion | None:
    return DatasetVersion.objects.select_related("dataset").filter(dataset=dataset).order_by("-number").first()


def _host(user: User, name: str | None) -> Host:
    hosts = Host.objects.filter(project__in=projects_for(user), enabled=True).order_by("id")
    found = hosts.filter(name=name).first() if name else hosts.first()
    if found is None:
        raise Invalid(_("There is no such host."), {"host": _("unknown")})
    return found


def _place(host: Host, gpus: int) -> Place:
    """Where a run on this host would stand, with as many GPUs as it asks for."""
    folder = RunFolder(attempt_path(host.root, PREVIEW, 1), str(PREVIEW))
    own = f"{settings.CHECKOUT_DIR}/.training/venv/bin/python"
    return Place(
        python=training.state(host).python or host.python or own,
        runtime_path=f"{host.root}/runtime",
        models_folder=models_folder(host.root),
        attempt_folder=folder.path,
        checkpoint_folder=folder.checkpoints,
        uuid=str(PREVIEW),
        cuda=gpus > 0,
        gpus=gpus,
    )
