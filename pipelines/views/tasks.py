"""Tasks, one row an attempt: the numbers, queues and workers, the list, one task."""

from typing import Final
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from platform_site.common.errors import Conflict, PlatformError
from platform_site.common.pages import may_operate, needs
from platform_site.common.queues import STAGE_QUEUES
from platform_site.common.roles import Role

from .. import selectors
from ..kinds import is_inline
from ..models import Attempt
from ..services.cancel import cancel_stage
from ..services.control import retry_stage
from ..states import StageStatus

PAGE_SIZE: Final = 25
STATES: Final = [s for s in StageStatus if s not in (StageStatus.PENDING, StageStatus.SKIPPED)]
"""What a task can be: a stage that waits for others, or is left out, has none."""
RETRIED: Final = (StageStatus.FAILED, StageStatus.CANCELLED)


@require_GET
@needs(Role.VIEWER)
def tasks(request: HttpRequest) -> HttpResponse:
    """`?state=`, `?queue=`, `?search=` words, `?page=`."""
    state = request.GET.get("state", "").strip().lower()
    queue = request.GET.get("queue", "").strip()
    search = request.GET.get("search", "").strip()
    found = selectors.tasks_for(request.user)
    if state in STATES:
        found = found.filter(selectors.in_state(StageStatus(state)))
    elif state:
        found = found.none()
    if queue:
        found = found.filter(stage__queue=queue)
    for word in search.split():
        found = found.filter(
            Q(stage__name__icontains=word) | Q(stage__pipeline__name__icontains=word) | Q(pk__startswith=word.lower())
        )
    page = Paginator(found.order_by("-created_at", "pk"), PAGE_SIZE).get_page(request.GET.get("page"))
    filtered = bool(state or queue or search)
    return render(
        request,
        "tasks/list.html",
        {
            "page": page,
            "overview": selectors.overview(request.user),
            "state": state,
            "states": STATES,
            "queue": queue,
            "queues": STAGE_QUEUES,
            "search": search,
            "nothing_yet": not filtered and not page.paginator.count,
        },
    )


@require_GET
@needs(Role.VIEWER)
def task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    found = selectors.task_for(request.user, task_id)
    siblings = list(Attempt.objects.filter(stage=found.stage).select_related("stage", "host").order_by("-number"))
    return render(
        request,
        "tasks/detail.html",
        {
            "task": found,
            "stage": found.stage,
            "pipeline": found.stage.pipeline,
            "state": selectors.task_state(found),
            "siblings": siblings,
            "waiting": selectors.waiting_for(found.stage) if not found.outcome else "",
            "cancellable": not found.outcome and found.stage.status != StageStatus.CANCELLING,
            "retriable": siblings[0].pk == found.pk and found.stage.status in RETRIED,
            "has_log": not is_inline(found.stage.kind),
            "can_operate": may_operate(request),
        },
    )


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def cancel_task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """GET asks, for those without a script; POST does it."""
    found = selectors.task_for(request.user, task_id)
    if request.method != "POST":
        return render(request, "tasks/cancel.html", {"task": found, "stage": found.stage})
    try:
        if found.outcome:
            raise Conflict(_("The task has already ended: it is %(outcome)s.") % {"outcome": found.outcome})
        cancel_stage(found.stage_id, user=request.user)  # type: ignore[arg-type]  # `needs` lets nobody else in
    except PlatformError as error:
        messages.error(request, error.message)
    return redirect("task", task_id=found.pk)


@require_POST
@needs(Role.OPERATOR)
def retry_task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Try the task's stage again; leads to the new task."""
    found = selectors.task_for(request.user, task_id)
    try:
        retry_stage(found.stage, user=request.user)  # type: ignore[arg-type]  # `needs` lets nobody else in
    except PlatformError as error:
        messages.error(request, error.message)
        return redirect("task", task_id=found.pk)
    again = selectors.tasks_for(request.user).filter(stage_id=found.stage_id).latest("number")
    return redirect("task", task_id=again.pk)
