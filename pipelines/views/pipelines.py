"""Pipelines: the list, the editor, one pipeline with its graph, and what can be done with it."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from platform_site.common.errors import PlatformError
from platform_site.common.pages import may_operate, needs, visitor
from platform_site.common.roles import Role

from .. import pipeline_templates, selectors
from ..drawing import BOX_HEIGHT, BOX_WIDTH, draw
from ..kinds import is_inline
from ..models import Pipeline, Stage
from ..pictures import picture_of, timeline_of
from ..pipeline_form import MOST_ROWS, PipelineForm, Unreadable, kinds, queues, read_params, too_many, write_params
from ..services import cancel, control, create, delete
from ..states import PIPELINE_TERMINAL, PipelineStatus, StageStatus
from .log import log_file
from .stages import listed

PAGE_SIZE: Final = 25
ACTIVE: Final = [PipelineStatus.RUNNING, PipelineStatus.PAUSED]
FIRST_LOOK: Final = [StageStatus.FAILED, StageStatus.RUNNING, StageStatus.STARTING, StageStatus.CANCELLING]
"""Which stage a page shows that names none: the first that failed, else the first that does something."""


@require_GET
@needs(Role.VIEWER)
def pipelines(request: HttpRequest) -> HttpResponse:
    """`?status=` one status or `active`, `?search=` words, `?page=`."""
    status = request.GET.get("status", "").strip().lower()
    search = request.GET.get("search", "").strip()
    found = _matching(selectors.pipelines_for(request.user), search)
    by_status = dict(found.order_by().values_list("status").annotate(n=Count("pk")))
    counts = {"": sum(by_status.values()), "active": sum(by_status.get(s, 0) for s in ACTIVE)}
    if status == "active":
        found = found.filter(status__in=ACTIVE)
    elif status:
        found = found.filter(status=status)
    page = Paginator(found.order_by("-created_at", "pk"), PAGE_SIZE).get_page(request.GET.get("page"))
    filtered = bool(status or search)
    return render(
        request,
        "pipelines/list.html",
        {
            "page": page,
            "status": status,
            "search": search,
            "chips": [
                ("", _("All"), counts[""]),
                ("active", _("Active"), counts["active"]),
                ("pending", _("Not started"), by_status.get("pending", 0)),
                ("completed", _("Completed"), by_status.get("completed", 0)),
                ("failed", _("Failed"), by_status.get("failed", 0)),
                ("cancelled", _("Cancelled"), by_status.get("cancelled", 0)),
            ],
            "filtered": filtered,
            "nothing_yet": not filtered and not page.paginator.count,
            "can_operate": may_operate(request),
        },
    )


def _matching(found: QuerySet[Pipeline], search: str) -> QuerySet[Pipeline]:
    for word in search.split():
        found = found.filter(Q(name__icontains=word) | Q(description__icontains=word) | Q(pk__startswith=word.lower()))
    return found


# --- The editor ---------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def create_pipeline(request: HttpRequest) -> HttpResponse:
    """`?from=` a pipeline to copy, `?template=` the slug of one to start from. POST with `do`: save or start; with
    `add` or `remove`: the form again."""
    if request.method != "POST":
        form = _first_form(request)
        if len(form.rows) > MOST_ROWS:
            messages.error(request, too_many())
            return redirect("pipeline", pipeline_id=request.GET["from"])
        return _editor(request, form)
    form = PipelineForm.from_post(request.POST)
    if "add" in request.POST or "remove" in request.POST:
        if "add" in request.POST:
            form.add()
        else:
            form.remove(request.POST["remove"])
        return _editor(request, form)
    spec = form.spec()
    form.place(create.problems(visitor(request), spec))
    if not form.ready:
        return _editor(request, form, status=422)
    start = request.POST.get("do") == "start"
    made = create.create_pipeline(user=visitor(request), spec=spec, start=start)
    messages.success(request, _("The pipeline was started.") if start else _("The pipeline was saved."))
    return redirect("pipeline", pipeline_id=made.pk)


@require_POST
@needs(Role.OPERATOR)
def preview_pipeline(request: HttpRequest) -> HttpResponse:
    """The drawing and the problems of a form that is still being filled in."""
    form = PipelineForm.from_post(request.POST)
    form.place(create.problems(visitor(request), form.spec()))
    form.forget_blanks()
    return render(request, "pipelines/_editor.html#preview_message", _editor_context(form))


def _first_form(request: HttpRequest) -> PipelineForm:
    template = pipeline_templates.template(request.GET.get("template", ""))
    try:
        form = (
            PipelineForm.of_template(template)
            if template is not None
            else PipelineForm.of(selectors.pipeline_for(request.user, UUID(request.GET.get("from", ""))))
        )
    except ValueError:
        return PipelineForm.blank()
    if len(form.rows) <= MOST_ROWS:
        form.place(create.problems(visitor(request), form.spec()))
    return form


def _editor(request: HttpRequest, form: PipelineForm, *, status: int = 200) -> HttpResponse:
    context = _editor_context(form)
    if request.method != "POST" and "from" not in request.GET:
        # Offered until something was typed: choosing one begins anew.
        context["templates"] = pipeline_templates.TEMPLATES
        context["chosen_template"] = pipeline_templates.template(request.GET.get("template", ""))
    return render(request, "pipelines/create.html", context, status=status)


def _editor_context(form: PipelineForm) -> dict[str, Any]:
    drawing = draw(form.nodes)
    labels = {row.key: form.label(row) for row in form.rows}
    return {
        "form": form,
        "rows": [(row, form.label(row), form.choices(row)) for row in form.rows],
        "kinds": kinds(),
        "queues": queues(),
        "too_many": too_many(),
        "drawing": drawing,
        "boxes": [(box, labels[box.name], row) for box, row in zip(drawing.boxes, form.rows, strict=True)],
        "box_width": BOX_WIDTH,
        "box_height": BOX_HEIGHT,
    }


# --- One pipeline -------------------------------------------------------------------------------------------


@require_GET
@needs(Role.VIEWER)
def pipeline(request: HttpRequest, pipeline_id: UUID) -> HttpResponse:
    """`?stage=` the name of the one whose log and facts are shown. What else `listed` understands."""
    found = selectors.pipeline_for(request.user, pipeline_id)
    stages = list(found.stages.all())
    chosen = _chosen(stages, request.GET.get("stage", ""))
    picture = picture_of(stages)
    shown = listed(stages, picture, request.GET)
    return render(
        request,
        "pipelines/detail.html",
        {
            "pipeline": found,
            "picture": picture,
            "list": shown,
            "timeline": timeline_of(found, shown.stages),
            "chosen": chosen,
            "has_log": chosen is not None and not is_inline(chosen.kind),
            "live": found.status not in PIPELINE_TERMINAL,
            "history": selectors.transitions_of(found).order_by("-id")[:50],
            "can_operate": may_operate(request),
        },
    )


def _chosen(stages: list[Stage], name: str) -> Stage | None:
    named = next((stage for stage in stages if stage.name == name), None)
    looked = (stage for status in FIRST_LOOK for stage in stages if stage.status == status)
    ran = (stage for stage in reversed(stages) if stage.started_at is not None)
    return named or next(looked, None) or next(ran, None) or next(iter(stages), None)


def _change(request: HttpRequest, pipeline_id: UUID, change: Callable[..., None]) -> HttpResponse:
    """One action; back to where it was asked for. What the state does not allow is said there."""
    found = selectors.pipeline_for(request.user, pipeline_id)
    try:
        change(found.pk, user=visitor(request))
    except PlatformError as error:
        messages.error(request, error.message)
    back = request.POST.get("next", "")
    if back and url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        return redirect(back)
    return redirect("pipeline", pipeline_id=found.pk)


@require_POST
@needs(Role.OPERATOR)
def start_pipeline(request: HttpRequest, pipeline_id: UUID) -> HttpResponse:
    return _change(request, pipeline_id, control.start_pipeline)


@require_POST
@needs(Role.OPERATOR)
def pause_pipeline(request: HttpRequest, pipeline_id: UUID) -> HttpResponse:
    return _change(request, pipeline_id, control.pause_pipeline)


@require_POST
@needs(Role.OPERATOR)
def resume_pipeline(request: HttpRequest, pipeline_id: UUID) -> HttpResponse:
    return _change(request, pipeline_id, control.resume_pipeline)


@require_POST
@needs(Role.OPERATOR)
def retry_pipeline(request: HttpRequest, pipeline_id: UUID) -> HttpResponse:
    return _change(request, pipeline_id, control.retry_pipeline)


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def cancel_pipeline(request: HttpRequest, pipeline_id: UUID) -> HttpResponse:
    """GET asks, for those without a script; POST does it."""
    if request.method == "POST":
        return _change(request, pipeline_id, cancel.cancel_pipeline)
    found = selectors.pipeline_for(request.user, pipeline_id)
    return render(request, "pipelines/cancel.html", {"pipeline": found})


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def delete_pipeline(request: HttpRequest, pipeline_id: UUID) -> HttpResponse:
    """GET asks, for those without a script; POST does it."""
    found = selectors.pipeline_for(request.user, pipeline_id)
    if request.method != "POST":
        return render(request, "pipelines/delete.html", {"pipeline": found})
    try:
        delete.delete_pipeline(found, user=visitor(request))
    except PlatformError as error:
        messages.error(request, error.message)
        return redirect("pipeline", pipeline_id=pipeline_id)
    messages.success(request, _("“%(name)s” was deleted.") % {"name": found.name})
    return redirect("pipelines")


# --- One stage ----------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def cancel_stage(request: HttpRequest, pipeline_id: UUID, name: str) -> HttpResponse:
    """GET asks, POST does it."""
    stage = selectors.stage_for(request.user, pipeline_id, name)
    if request.method != "POST":
        return render(request, "pipelines/stage_cancel.html", {"pipeline": stage.pipeline, "stage": stage})
    try:
        cancel.cancel_stage(stage.pk, user=visitor(request))
    except PlatformError as error:
        messages.error(request, error.message)
    return _to_stage(request, stage)


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def retry_stage(request: HttpRequest, pipeline_id: UUID, name: str) -> HttpResponse:
    """The same stage again, with its parameters as the form has them."""
    stage = selectors.stage_for(request.user, pipeline_id, name)
    text = write_params(stage.params)
    problems: list[str] = []
    if request.method == "POST":
        text = request.POST.get("params", text)
        try:
            wanted = read_params(text)
            changed = {key: value for key, value in wanted.items() if stage.params.get(key, ...) != value}
            control.retry_stage(stage, user=visitor(request), params=changed or None)
        except Unreadable as error:
            problems = [str(error)]
        except PlatformError as error:
            told = {key.removeprefix("params."): " ".join(said) for key, said in error.fields.items()}
            problems = [f"{key}: {said}" for key, said in told.items()] or [error.message]
        else:
            return _to_stage(request, stage)
    context = {"pipeline": stage.pipeline, "stage": stage, "params": text, "problems": problems}
    return render(request, "pipelines/stage_retry.html", context, status=422 if problems else 200)


@require_GET
@needs(Role.VIEWER)
def stage_log(request: HttpRequest, pipeline_id: UUID, name: str) -> StreamingHttpResponse:
    """The whole output as a file."""
    stage = selectors.stage_for(request.user, pipeline_id, name)
    return log_file(stage, f"{stage.pipeline.name} {stage.name}")


def _to_stage(request: HttpRequest, stage: Stage) -> HttpResponse:
    answer = redirect("pipeline", pipeline_id=stage.pipeline_id)
    answer["Location"] += f"?stage={stage.name}"
    return answer
