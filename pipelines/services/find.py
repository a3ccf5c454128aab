"""What people name by slug, as they may see it: a recipe's revision, a dataset's version, a host."""

from typing import Any

from django.utils.translation import gettext as _

from datasets.models import Dataset, DatasetVersion
from environments import training
from environments.models import Host
from pipelines.models import Recipe, RecipeRevision
from pipelines.recipe_selectors import spec_of
from pipelines.recipes.spec import Problem
from pipelines.recipes.trainers import supported, trainer_of
from pipelines.recipes.validate import check
from pipelines.services.recipes import reference, refuse
from platform_site.common.errors import Invalid
from platform_site.common.models import User
from platform_site.common.roles import Role, role_of
from platform_site.common.selectors import projects_for


def revision(user: User, recipe: str) -> RecipeRevision:
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


def dataset_version(user: User, dataset: str | None, revision: RecipeRevision) -> DatasetVersion:
    slug, _at, number = (dataset or "").partition("@")
    if not slug:
        if revision.dataset is None:
            raise Invalid(_("This recipe names no dataset: choose one."), fields={"dataset": _("required")})
        slug = revision.dataset.slug
    return version(user, f"{slug}@{number}" if number else slug)


def version(user: User, name: str) -> DatasetVersion:
    """The version that `slug@n` names; the newest where `name` is a slug alone."""
    slug, _at, number = name.partition("@")
    visible = Dataset.objects.filter(project__in=projects_for(user))
    versions = DatasetVersion.objects.select_related("dataset").filter(dataset__in=visible.filter(slug=slug))
    if number:
        versions = versions.filter(number=int(number)) if number.isdecimal() else versions.none()
    found = versions.order_by("-number").first()
    if found is None:
        raise Invalid(
            _("There is no dataset version %(name)r. There are: %(known)s.")
            % {"name": name, "known": ", ".join(visible.values_list("slug", flat=True)[:20])},
            fields={"dataset": _("unknown")},
        )
    return found


def host(user: User, name: str | None) -> Host | None:
    """The enabled host of that name; None for no name: any host will do."""
    if not name:
        return None
    hosts = Host.objects.filter(project__in=projects_for(user), enabled=True)
    found = hosts.filter(name=name).first()
    if found is None:
        raise Invalid(
            _("There is no enabled host %(name)r. There are: %(known)s.")
            % {"name": name, "known": ", ".join(hosts.values_list("name", flat=True)[:20])},
            fields={"host": _("unknown")},
        )
    return found


def refuse_without_environment(user: User, chosen: Host | None) -> None:
    """Some host must be able to train. One that is being set up will do, the stage waits for it; where the set-up
    failed, waiting would never end."""
    hosts = [chosen] if chosen else list(Host.objects.filter(project__in=projects_for(user), enabled=True))
    states = [training.state(found) for found in hosts]
    if any(found.status in ("ready", "installing") for found in states):
        return
    causes = "; ".join(dict.fromkeys(found.message for found in states)) or _("no host is enabled")
    raise Invalid(
        _("No host can train: %(causes)s") % {"causes": causes}, fields={"host": causes}, code="environment_missing"
    )


def refuse_unsound(
    user: User, revision: RecipeRevision, version: DatasetVersion | None, overrides: dict[str, Any]
) -> None:
    """The recipe with its overrides must be what the trainer takes."""
    spec = spec_of(revision)
    rules = trainer_of(spec.algorithm, spec.trainer).rules if (spec.algorithm, spec.trainer) in supported() else None
    # In a recipe they may come from somebody's script; who sets one for this run expects it to count.
    if rules is not None:
        refuse([Problem(key, why) for key in overrides if (why := rules.ignored(key))], overrides)
        instead = [(key, rules.replacement(key, value)) for key, value in overrides.items()]
        refuse([Problem(key, new[1], suggestion=new[0]) for key, new in instead if new is not None], overrides)
    checked = check(
        spec.merged(overrides),
        dataset=reference(version) if version is not None else None,
        admin=role_of(user) == Role.ADMIN,
        inherited=revision.params,
    )
    refuse(checked.errors, overrides)
