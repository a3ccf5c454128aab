"""The dashboard: what needs attention, what runs, what room there is, what was last."""

from datetime import timedelta
from typing import Final

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from environments import training
from environments.models import Host
from pipelines import selectors
from pipelines.gpu_selectors import gpu_slots
from pipelines.models import Recipe
from pipelines.states import STAGE_ACTIVE, PipelineStatus, StageStatus
from platform_site.common.pages import may_operate, needs
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for

FIRST_RECIPE: Final = "tiny-sft"
ATTENTION_FOR: Final = timedelta(days=1)
"""How long a failed run asks for attention."""

UNDER_WAY: Final = (PipelineStatus.RUNNING, PipelineStatus.PAUSED)
PIPELINES: Final = 8
"""How many pipelines stand there: those under way, and those that failed lately."""


@require_GET
@needs(Role.VIEWER)
def home(request: HttpRequest) -> HttpResponse:
    jobs = selectors.jobs_for(request.user)
    local = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk").first()
    pipelines = selectors.pipelines_for(request.user)
    if not pipelines.exists():
        context = {
            "training": training.state(local) if local is not None else None,
            "recipe": Recipe.objects.filter(slug=FIRST_RECIPE, project__in=projects_for(request.user)).first(),
            "can_operate": may_operate(request),
        }
        return render(request, "first_run.html", context)
    recently = timezone.now() - ATTENTION_FOR
    flagged = jobs.filter(stage__status__in=STAGE_ACTIVE, stream__has_anomaly=True)
    failed = jobs.filter(stage__status=StageStatus.FAILED, stage__completed_at__gte=recently)
    attention = [*flagged.order_by("-created_at")[:5], *failed.order_by("-stage__completed_at")[:5]]
    told = [job.pk for job in attention]
    under_way = jobs.filter(stage__status__in=[StageStatus.PENDING, StageStatus.QUEUED, *STAGE_ACTIVE])
    # A run stands in one place: it has one id on the page, and one look finds it.
    return render(
        request,
        "home.html",
        {
            "attention": attention,
            "unreachable": Host.objects.filter(project__in=projects_for(request.user), unreachable_since__isnull=False),
            "under_way": under_way.exclude(pk__in=told).order_by("created_at")[:20],
            "recent": jobs.filter(stage__completed_at__isnull=False)
            .exclude(pk__in=told)
            .order_by("-stage__completed_at")[:8],
            # A run is a pipeline of one stage, and stands among the runs already.
            "pipelines": pipelines.annotate(size=Count("stages"))
            .filter(Q(status__in=UNDER_WAY) | Q(status=PipelineStatus.FAILED, completed_at__gte=recently), size__gt=1)
            .order_by("-created_at")[:PIPELINES],
            "overview": selectors.overview(request.user),
            "gpu_hosts": gpu_slots(request.user),
            "can_operate": may_operate(request),
        },
    )
