"""What a user may see of recipes. Reading only; a constant number of queries."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _

from platform_site.common.errors import NotFound
from platform_site.common.selectors import projects_for

from .models import Recipe, RecipeRevision
from .recipes.spec import RecipeSpec

Person = AbstractBaseUser | AnonymousUser


def recipes_for(user: Person) -> QuerySet[Recipe]:
    """With their revisions, newest first."""
    revisions = RecipeRevision.objects.select_related("dataset", "created_by").order_by("-number")
    return (
        Recipe.objects.filter(project__in=projects_for(user))
        .select_related("project", "derived_from", "created_by")
        .prefetch_related(Prefetch("revisions", revisions))
    )


def recipe_for(user: Person, slug: str) -> Recipe:
    """Raises NotFound."""
    found = recipes_for(user).filter(slug=slug).first()
    if found is None:
        raise NotFound(_("There is no such recipe."))
    return found


def revisions_of(recipe: Recipe) -> QuerySet[RecipeRevision]:
    """Newest first."""
    return RecipeRevision.objects.filter(recipe=recipe).select_related("dataset", "created_by").order_by("-number")


def latest(recipe: Recipe) -> RecipeRevision:
    """The revision that counts. Every recipe has one."""
    return next(iter(recipe.revisions.all()))


def spec_of(revision: RecipeRevision) -> RecipeSpec:
    """A revision as the compiler takes it."""
    recipe = revision.recipe
    return RecipeSpec(recipe.slug, recipe.algorithm, recipe.trainer, revision.base_model, revision.params)
