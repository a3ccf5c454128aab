"""Recipes: the list, one with its revisions, the form that makes and revises them, two side by side."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from datasets.models import Dataset
from platform_site.common.access import may
from platform_site.common.errors import Conflict, Invalid, NotFound, PlatformError
from platform_site.common.models import User
from platform_site.common.pages import may_operate, needs, visitor
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for

from .. import recipe_selectors, selectors
from ..models import Job, Recipe, RecipeRevision
from ..recipe_form import RecipeForm, further_keys
from ..recipes import validate
from ..recipes.fixes import fixed
from ..recipes.spec import SFT, VERL, Problem
from ..recipes.trainers import TRAINERS
from ..services import compare, recommend
from ..services import recipes as services

Person = AbstractBaseUser | AnonymousUser

WORKED: Final = 3
"""Runs that are shown of those that worked."""

METHODS: Final = [
    (algorithm, trainer, f"{Recipe.Algorithm(algorithm).label} · {Recipe.Trainer(trainer).label}")
    for algorithm, trainer in TRAINERS
]
"""What a new recipe may be for, as it is shown."""


@require_GET
@needs(Role.VIEWER)
def recipes(request: HttpRequest) -> HttpResponse:
    """`?algorithm=`, `?search=`."""
    algorithm = request.GET.get("algorithm", "").strip().lower()
    search = request.GET.get("search", "").strip()
    found = listed(request.user)
    total = found.count()
    if algorithm:
        found = found.filter(algorithm=algorithm)
    for word in search.split():
        found = found.filter(Q(name__icontains=word) | Q(slug__icontains=word) | Q(description__icontains=word))
    return render(
        request,
        "recipes/list.html",
        {
            "recipes": found,
            "total": total,
            "algorithm": algorithm,
            "search": search,
            "algorithms": [("", _("All")), *Recipe.Algorithm.choices],
            "can_operate": may_operate(request),
        },
    )


def listed(user: Person) -> QuerySet[Recipe]:
    """With the newest revision's number and model, and how many runs were made from each."""
    last = RecipeRevision.objects.filter(recipe=OuterRef("pk")).order_by("-number")
    return (
        Recipe.objects.filter(project__in=projects_for(user))
        .annotate(
            revision_number=Subquery(last.values("number")[:1]),
            base_model=Subquery(last.values("base_model")[:1]),
            runs=Count("revisions__jobs", distinct=True),
        )
        .order_by("-is_template", "slug")
    )


def newest_of(recipes: QuerySet[Recipe]) -> QuerySet[RecipeRevision]:
    """The newest revision of each."""
    last = RecipeRevision.objects.filter(recipe=OuterRef("recipe")).order_by("-number")
    return RecipeRevision.objects.filter(
        recipe__in=recipes.values("pk"), pk=Subquery(last.values("pk")[:1])
    ).select_related("recipe", "dataset")


def newest(recipe: Recipe) -> RecipeRevision | None:
    return recipe.revisions.select_related("dataset").order_by("-number").first()


@require_GET
@needs(Role.VIEWER)
def recipe(request: HttpRequest, slug: str) -> HttpResponse:
    """`?revision=` one of the past."""
    found = listed(request.user).filter(slug=slug).select_related("created_by", "derived_from").first()
    if found is None:
        raise NotFound(_("There is no such recipe."))
    revisions = list(
        found.revisions.select_related("dataset", "created_by").annotate(runs=Count("jobs")).order_by("-number")
    )
    wanted = request.GET.get("revision", "")
    shown = next((r for r in revisions if str(r.number) == wanted), None) or (revisions[0] if revisions else None)
    checked = services.check_revision(shown) if shown and shown is revisions[0] else None
    recent = selectors.jobs_for(request.user).filter(recipe_revision__recipe=found).order_by("-created_at")[:5]
    return render(
        request,
        "recipes/detail.html",
        {
            "recipe": found,
            "revision": shown,
            "revisions": revisions,
            "params": sorted(shown.params.items()) if shown else [],
            # What an old revision is worth saying about helps nobody.
            **(_told(checked.errors, checked.warnings) if checked else {}),
            "jobs": recent,
            "worked": _worked(visitor(request), found.algorithm, shown.base_model) if shown else [],
            "can_operate": may_operate(request),
        },
    )


def _worked(user: User, algorithm: str, base_model: str) -> list[recommend.Worked]:
    """The few best runs of this model, where one is known."""
    known = base_model and algorithm in Recipe.Algorithm.values
    return recommend.best(recommend.what_worked(user, algorithm, base_model), WORKED) if known else []


# --- The form -----------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def new_recipe(request: HttpRequest) -> HttpResponse:
    """`?from=` the recipe to derive from, or `?job=` the run, or `?algorithm=&trainer=`. POST with `do`: save, or
    `yaml` and `form` for the other view."""
    ran = _ran(request)
    origin = ran.recipe_revision.recipe if ran else _origin(request)
    algorithm, trainer = (origin.algorithm, origin.trainer) if origin else _method(request)
    if request.method != "POST":
        form = _of_run(ran) if ran else _derived(origin) if origin else RecipeForm(algorithm, trainer)
        return _page(request, _fixed(request, form, form.params()), origin=origin)
    form = RecipeForm.from_post(request.POST, algorithm=algorithm, trainer=trainer)
    form.missing()
    params = form.params()
    if request.POST.get("do") in ("yaml", "form"):
        return _page(request, _turned(form, params), origin=origin)
    if "fix" in request.POST:
        return _page(request, _fixed(request, form, params), origin=origin)
    if form.valid:
        try:
            made = services.create_recipe(
                user=visitor(request),
                draft=form.draft(params, origin.slug if origin else None),
                admin=may(request, Role.ADMIN),
            )
        except (Invalid, Conflict) as error:
            form.place(error.fields or {"name": [error.message]})
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": made.name})
            return redirect("recipe", slug=made.slug)
    return _page(request, form, origin=origin, status=422)


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def edit_recipe(request: HttpRequest, slug: str) -> HttpResponse:
    """A new revision, made from the one the form was opened with."""
    found = recipe_selectors.recipe_for(request.user, slug)
    if found.is_template:
        return redirect("/recipes/new/?" + urlencode({"from": found.slug, **request.GET.dict()}))
    last = recipe_selectors.latest(found)
    if request.method != "POST":
        form = RecipeForm.of(found.algorithm, found.trainer, last.params, _plain(found, last))
        form = _fixed(request, form, dict(last.params))
        return _page(request, form, recipe=found, revision=last.number)
    form = RecipeForm.from_post(request.POST, algorithm=found.algorithm, trainer=found.trainer)
    form.missing()
    params = form.params()
    given = request.POST.get("revision", "")
    revision = int(given) if given.isdecimal() and len(given) < 10 else 0
    if request.POST.get("do") in ("yaml", "form"):
        return _page(request, _turned(form, params), recipe=found, revision=revision)
    if "fix" in request.POST:
        return _page(request, _fixed(request, form, params), recipe=found, revision=revision)
    if form.valid:
        changes: dict[str, Any] = {name: form.plain[name] for name in ("name", "description", "base_model")}
        changes |= {"params": params, "dataset": form.plain["dataset"] or None}
        try:
            services.revise_recipe(
                user=visitor(request), recipe=found, revision=revision, changes=changes, admin=may(request, Role.ADMIN)
            )
        except Conflict as error:
            form.fail("name", error.message)
        except Invalid as error:
            form.place(error.fields or {"name": [error.message]})
        else:
            messages.success(request, _("“%(name)s” was saved.") % {"name": form.plain["name"]})
            return redirect("recipe", slug=found.slug)
    return _page(request, form, recipe=found, revision=revision, status=422)


@require_POST
@needs(Role.OPERATOR)
def check_recipe(request: HttpRequest) -> HttpResponse:
    """What is wrong with a form that is still being filled in. Keeps nothing."""
    algorithm, trainer = request.POST.get("algorithm", SFT), request.POST.get("trainer", VERL)
    form = RecipeForm.from_post(request.POST, algorithm=algorithm, trainer=trainer)
    draft = form.draft(form.params())
    found = services.check_draft(visitor(request), draft, admin=may(request, Role.ADMIN))
    unread = [message for setting in form.settings.values() for message in setting.errors]
    unread += [message for told in form.errors.values() for message in told]
    # What is not there yet is no mistake while somebody types.
    errors = [problem for problem in found.errors if problem.key != "base_model" or draft.base_model]
    context = {"unread": unread, **_told(errors, found.warnings), "named": len(draft.params), "in_form": True}
    return render(request, "recipes/_checked.html", context)


def _told(errors: Iterable[Problem], warnings: Iterable[Problem]) -> dict[str, list[tuple[Problem, str]]]:
    return {
        "errors": [(problem, services.told(problem)) for problem in errors],
        "warnings": [(problem, services.told(problem)) for problem in warnings],
    }


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def delete_recipe(request: HttpRequest, slug: str) -> HttpResponse:
    """GET asks, POST does it."""
    found = recipe_selectors.recipe_for(request.user, slug)
    if request.method != "POST":
        return render(request, "recipes/delete.html", {"recipe": found})
    try:
        services.delete_recipe(user=visitor(request), recipe=found)
    except PlatformError as error:
        messages.error(request, error.message)
        return redirect("recipe", slug=slug)
    messages.success(request, _("“%(name)s” was deleted.") % {"name": found.name})
    return redirect("recipes")


def _origin(request: HttpRequest) -> Recipe | None:
    slug = request.POST.get("derived_from", "") or request.GET.get("from", "")
    return recipe_selectors.recipe_for(request.user, slug) if slug else None


def _ran(request: HttpRequest) -> Job | None:
    """The run that a new recipe is made from."""
    name = request.GET.get("job", "") if request.method != "POST" else ""
    try:
        return compare.named_job(visitor(request), name) if name else None
    except Invalid as error:
        raise NotFound(error.message) from error


def _of_run(job: Job) -> RecipeForm:
    """What a run was really asked for, its overrides included."""
    revision = job.recipe_revision
    spec = recipe_selectors.spec_of(revision).merged(job.overrides)
    dataset = job.dataset_version.dataset.slug if job.dataset_version is not None else ""
    plain = {"base_model": spec.base_model, "dataset": dataset}
    return RecipeForm.of(spec.algorithm, spec.trainer, spec.params, plain)


def _method(request: HttpRequest) -> tuple[str, str]:
    """Algorithm and trainer of a new recipe, where they are known."""
    asked = request.POST if request.method == "POST" else request.GET
    named = (asked.get("algorithm", ""), asked.get("trainer", ""))
    return named if named in TRAINERS else (SFT, VERL)


def _plain(recipe: Recipe, revision: RecipeRevision) -> dict[str, str]:
    return {
        "name": recipe.name,
        "slug": recipe.slug,
        "description": recipe.description,
        "on_critical": recipe.on_critical,
        "on_stall": recipe.on_stall,
        "base_model": revision.base_model,
        "dataset": revision.dataset.slug if revision.dataset else "",
    }


def _derived(origin: Recipe) -> RecipeForm:
    last = recipe_selectors.latest(origin)
    plain = {**_plain(origin, last), "name": "", "slug": "", "description": ""}
    return RecipeForm.of(origin.algorithm, origin.trainer, last.params, plain)


def _turned(form: RecipeForm, params: dict[str, Any]) -> RecipeForm:
    """The other view of the same settings; where one cannot be read yet, the view stays."""
    form.errors.pop("name", None)
    form.errors.pop("base_model", None)
    if form.valid:
        form.whole = not form.whole
        form.fill(params)
    return form


def _fixed(request: HttpRequest, form: RecipeForm, params: dict[str, Any]) -> RecipeForm:
    """The form with one suggestion followed, `fix` in the request: `key=suggestion`. Whoever looks at it saves it, or
    does not."""
    key, equals, suggestion = (request.POST.get("fix") or request.GET.get("fix", "")).partition("=")
    if not equals:
        return form
    form.errors.pop("name", None)
    form.errors.pop("base_model", None)
    trainer = TRAINERS.get((form.algorithm, form.trainer))
    if key == "base_model":
        form.plain["base_model"] = suggestion
    elif trainer is None or not form.valid:
        return form
    else:
        form.fill(fixed(trainer, params, key, suggestion))
    messages.info(request, _("%(key)s is changed in the form. Nothing is saved yet.") % {"key": key})
    return form


def _page(
    request: HttpRequest,
    form: RecipeForm,
    *,
    origin: Recipe | None = None,
    recipe: Recipe | None = None,
    revision: int | None = None,
    status: int = 200,
) -> HttpResponse:
    kind = TRAINERS[form.algorithm, form.trainer].dataset_kind if (form.algorithm, form.trainer) in TRAINERS else ""
    context = {
        "form": form,
        "methods": [] if origin or recipe else METHODS,
        "origin": origin,
        "worked": _worked(visitor(request), form.algorithm, form.plain["base_model"]),
        "recipe": recipe,
        "revision": revision,
        "datasets": Dataset.objects.filter(project__in=projects_for(request.user), kind=kind),
        "models": validate.BUILTIN_MODELS,
        "policies": Recipe.OnCritical.choices,
        "stall_policies": Recipe.OnStall.choices,
        "keys": further_keys(form.algorithm, form.trainer),
    }
    return render(request, "recipes/form.html", context, status=status)


# --- Side by side -------------------------------------------------------------------------------------------


@require_GET
@needs(Role.VIEWER)
def diff_recipes(request: HttpRequest) -> HttpResponse:
    """`?left=&right=` each slug or slug@revision; `?all=1` shows equal settings too, `?search=` in their keys."""
    left, right = request.GET.get("left", ""), request.GET.get("right", "")
    search, everything = request.GET.get("search", "").strip().lower(), request.GET.get("all") == "1"
    compared, problem = None, ""
    if left and right:
        try:
            compared = compare.recipes(visitor(request), left, right)
        except PlatformError as error:
            problem = error.message
    rows = [row for row in compared.rows if search in row.key.lower()] if compared else []
    context = {
        "left": left,
        "right": right,
        "search": search,
        "everything": everything,
        "problem": problem,
        "compared": compared,
        "rows": [row for row in rows if everything or row.sort != "equal"],
        "folded": 0 if everything else sum(row.sort == "equal" for row in rows),
        "choices": _revisions(request.user),
        "sides": [("left", left, _("From")), ("right", right, _("To"))],
    }
    return render(request, "recipes/diff.html", context)


def _revisions(user: Person) -> list[tuple[str, str]]:
    found = RecipeRevision.objects.filter(recipe__project__in=projects_for(user)).select_related("recipe")
    return [
        (f"{one.recipe.slug}@{one.number}", f"{_(one.recipe.name)} · {_('revision %(n)s') % {'n': one.number}}")
        for one in found.order_by("recipe__slug", "-number")[:500]
    ]
