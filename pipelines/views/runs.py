"""The pages of runs: parse, authorise, one selector or service, respond."""

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from datasets.models import Dataset
from environments.models import Host
from monitoring.models import Finding
from monitoring.services.checkups import diagnose_now
from monitoring.told import told
from platform_site.common.errors import NotFound, PlatformError
from platform_site.common.pages import may_operate, needs, visitor
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for

from .. import selectors
from ..forms import NewRunForm, Overrides, Pinned, tell
from ..models import Job, Recipe
from ..recipes.trainers import trainer_of
from ..services import compare, doctor, fitting
from ..services.cancel import cancel_stage
from ..services.judging import judge
from ..services.submit import began_from, submit_job
from ..states import STAGE_TERMINAL
from .log import log_file
from .monitor import monitor_context
from .recipes import listed, newest_of

PAGE_SIZE: Final = 25
MOST_COMPARED: Final = 10
ACTIVE: Final = ["pending", "queued", "starting", "running", "cancelling"]


@require_GET
@needs(Role.VIEWER)
def jobs(request: HttpRequest) -> HttpResponse:
    """`?status=` one status or `active`, `?recipe=` a slug, `?search=` words, `?page=`."""
    status = request.GET.get("status", "").strip().lower()
    recipe = request.GET.get("recipe", "").strip()
    search = request.GET.get("search", "").strip()
    visible = selectors.jobs_for(request.user)
    found = _matching(visible, recipe, search)
    by_status = dict(found.order_by().values_list("stage__status").annotate(n=Count("pk")))
    counts = {"": sum(by_status.values()), "active": sum(by_status.get(s, 0) for s in ACTIVE)}
    counts |= {s: by_status.get(s, 0) for s in ("completed", "failed", "cancelled")}
    if status == "active":
        found = found.filter(stage__status__in=ACTIVE)
    elif status:
        found = found.filter(stage__status=status)
    page = Paginator(found.order_by("-created_at", "pk"), PAGE_SIZE).get_page(request.GET.get("page"))
    filtered = bool(status or recipe or search)
    return render(
        request,
        "jobs/list.html",
        {
            "page": page,
            "status": status,
            "recipe": recipe,
            "search": search,
            "chips": [
                ("", _("All"), counts[""]),
                ("active", _("Active"), counts["active"]),
                ("completed", _("Completed"), counts["completed"]),
                ("failed", _("Failed"), counts["failed"]),
                ("cancelled", _("Cancelled"), counts["cancelled"]),
            ],
            "recipes": Recipe.objects.filter(project__in=projects_for(request.user), revisions__jobs__isnull=False)
            .distinct()
            .order_by("slug"),
            "filtered": filtered,
            "nothing_yet": not filtered and not page.paginator.count,
            "can_operate": may_operate(request),
        },
    )


def _matching(found: QuerySet[Job], recipe: str, search: str) -> QuerySet[Job]:
    if recipe:
        found = found.filter(recipe_revision__recipe__slug=recipe)
    for word in search.split():
        found = found.filter(
            Q(name__icontains=word)
            | Q(recipe_revision__recipe__slug__icontains=word)
            | Q(dataset_version__dataset__slug__icontains=word)
            | Q(pk__startswith=word.lower())
        )
    return found


@require_GET
@needs(Role.VIEWER)
def job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    found = selectors.job_for(request.user, job_id)
    return render(
        request,
        "jobs/detail.html",
        {
            "job": found,
            "stage": found.stage,
            "can_operate": may_operate(request),
            "live": found.stage.status not in STAGE_TERMINAL,
            "cancellable": found.stage.status in (*ACTIVE[:4],),
            "rollouts": selectors.has_rollouts(found),
            "checkup": selectors.checkup_of(found),
            **monitor_context(request, found),
        },
    )


@require_GET
@needs(Role.VIEWER)
def compare_jobs(request: HttpRequest) -> HttpResponse:
    """`?job=` for each run, the first is the baseline; `?all=1` shows equal settings too."""
    asked = [name for name in request.GET.getlist("job") if name][:MOST_COMPARED]
    try:
        found = compare.named_jobs(visitor(request), asked)
    except PlatformError as error:
        messages.error(request, error.message)
        found = []
    columns = compare.columns(found) if len(found) > 1 else None
    everything = request.GET.get("all") == "1"
    rows = columns.settings if columns else []
    others = selectors.jobs_for(request.user).exclude(pk__in=[job.pk for job in found])
    context = {
        "jobs": found,
        "heads": [(job, [str(other.pk) for other in found if other is not job]) for job in found],
        "columns": columns,
        "rows": [row for row in rows if everything or not row.equal],
        "folded": 0 if everything else sum(row.equal for row in rows),
        "everything": everything,
        "recent": others.order_by("-created_at")[:50],
        "most": MOST_COMPARED,
        "metric_label": _("Metric"),
        "key_label": _("Key"),
    }
    return render(request, "jobs/compare.html", context)


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def new_job(request: HttpRequest) -> HttpResponse:
    asked = request.POST if request.method == "POST" else request.GET
    choices = _choices(request, asked.get("recipe", ""))
    if request.method != "POST":
        form = NewRunForm(initial={name: request.GET.get(name, "") for name in NewRunForm.base_fields}, **choices)
        return _new_job_page(request, form, Overrides(), [], choices)
    form, overrides = NewRunForm(request.POST, **choices), Overrides.from_post(request.POST)
    made, problems = _submitted(request, form, overrides, None)
    if made:
        return redirect("job", job_id=made.pk)
    return _new_job_page(request, form, overrides, problems, choices, status=422)


def _choices(request: HttpRequest, slug: str, algorithm: str = "") -> dict[str, Any]:
    """What a run of the recipe, else of the first that a host can run, is made of: only data that it learns from."""
    recipes = listed(request.user).filter(**({"algorithm": algorithm} if algorithm else {}))
    revisions = {revision.recipe.slug: revision for revision in newest_of(recipes)}
    lacking = fitting.lacking(visitor(request), revisions.values())
    found = sorted(recipes, key=lambda recipe: recipe.slug in lacking)
    chosen = next((one for one in found if one.slug == slug.partition("@")[0]), found[0] if found else None)
    kind = trainer_of(chosen.algorithm, chosen.trainer).dataset_kind if chosen else ""
    return {
        "recipes": found,
        "lacking": lacking,
        "revision": revisions.get(chosen.slug) if chosen else None,
        "datasets": Dataset.objects.filter(project__in=projects_for(request.user), kind=kind).order_by("slug"),
        "hosts": Host.objects.filter(project__in=projects_for(request.user), enabled=True),
    }


def _submitted(
    request: HttpRequest,
    form: NewRunForm,
    overrides: Overrides,
    once_more: Job | None,
    incident: Finding | None = None,
) -> tuple[Job | None, list[str]]:
    """The run that a form asks for; else what is wrong and belongs to no field."""
    fine = overrides.is_valid()
    if not form.is_valid() or not fine:
        return None, [str(message) for message in form.errors.get("step", [])]
    step = form.cleaned_data["step"]
    begun = None
    if once_more is not None:
        begun = began_from(once_more) if step is None else {"job": str(once_more.pk), "step": step}
    try:
        return submit_job(
            user=visitor(request),
            recipe=form.cleaned_data["recipe"],
            dataset=form.cleaned_data["dataset"] or None,
            host=form.cleaned_data["host"] or None,
            overrides=overrides.values,
            name=form.cleaned_data["name"],
            incident=incident,
            from_checkpoint=begun,
        ), []
    except NotFound:
        raise
    except PlatformError as error:
        return None, tell(form, overrides, error)


def _new_job_page(
    request: HttpRequest,
    form: NewRunForm,
    overrides: Overrides,
    problems: list[str],
    choices: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    revision = choices["revision"]
    context = {
        "form": form,
        "overrides": overrides,
        "problems": problems,
        "recipe": revision.recipe if revision else None,
        "revision": revision,
        "lacking": choices["lacking"].get(revision.recipe.slug, "") if revision else "",
    }
    return render(request, "jobs/new.html", context, status=status)


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def cancel_job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """GET asks, for those without a script; POST does it."""
    found = selectors.job_for(request.user, job_id)
    if request.method == "POST":
        try:
            cancel_stage(found.stage_id, user=visitor(request))
        except PlatformError as error:
            messages.error(request, error.message)
        return redirect("job", job_id=found.pk)
    return render(request, "jobs/cancel.html", {"job": found, "stage": found.stage})


@require_POST
@needs(Role.OPERATOR)
def diagnose_job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Read the whole run anew."""
    found = selectors.job_for(request.user, job_id)
    if diagnose_now(found.stream):
        messages.success(request, _("The run was read anew."))
    else:
        messages.info(request, _("The run is long: a worker reads it anew, and the page shows it then."))
    return redirect("job", job_id=found.pk)


@require_POST
@needs(Role.OPERATOR)
def judge_job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """`judged`: good, bad, or nothing; `backtest`: the one to go back to, on its `page`."""
    found = selectors.job_for(request.user, job_id)
    try:
        judge(found, request.POST.get("judged", ""), visitor(request))
    except PlatformError as error:
        messages.error(request, error.message)
    try:
        backtest, page = UUID(request.POST["backtest"]), int(request.POST.get("page", "1"))
    except (KeyError, ValueError):
        return redirect(f"{reverse('job', args=[found.pk])}#job-health")
    return redirect(f"{reverse('backtest', args=[backtest])}?page={page}#run-{found.pk}")


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def rerun(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """The same once more: the form of a new run, filled in with what this one had, down to revision and version.

    `finding`: one of the run, whose advice is filled in too.
    """
    found = selectors.job_for(request.user, job_id)
    asked = (request.POST if request.method == "POST" else request.GET).get("finding", "")
    incident = doctor.finding_of(found, asked) if asked else None
    pinned = Pinned.of(found)
    # Another algorithm would be another run: its data would not fit either.
    choices = _choices(request, pinned.recipe[0], found.recipe_revision.recipe.algorithm)
    if request.method != "POST":
        initial = {
            "recipe": pinned.recipe[0],
            "dataset": pinned.dataset[0] if pinned.dataset else "",
            "name": found.name,
            "host": found.stage.host.name if found.stage.host else "",
            "step": request.GET.get("step", ""),
        }
        form = NewRunForm(initial=initial, pinned=pinned, **choices)
        values = doctor.suggested(found, incident) if incident is not None else found.overrides
        return _rerun_page(request, found, form, Overrides.of(values), [], incident)
    form = NewRunForm(request.POST, pinned=pinned, **choices)
    overrides = Overrides.from_post(request.POST)
    made, problems = _submitted(request, form, overrides, found, incident)
    return redirect("job", job_id=made.pk) if made else _rerun_page(request, found, form, overrides, problems, incident)


def _rerun_page(
    request: HttpRequest,
    job: Job,
    form: NewRunForm,
    overrides: Overrides,
    problems: list[str],
    incident: Finding | None,
) -> HttpResponse:
    context = {
        "job": job,
        "stage": job.stage,
        "form": form,
        "overrides": overrides,
        "problems": problems,
        "revision": job.recipe_revision,
        "incident": told(incident, job.stream) if incident is not None else None,
    }
    return render(request, "jobs/rerun.html", context, status=422 if request.method == "POST" else 200)


@require_GET
@needs(Role.VIEWER)
def job_log(request: HttpRequest, job_id: UUID) -> StreamingHttpResponse:
    """The whole output as a file."""
    found = selectors.job_for(request.user, job_id)
    return log_file(found.stage, found.name)
