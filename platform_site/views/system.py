"""The machine: its training environment as it is being set up, hosts, queues and workers."""

from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from environments import training
from environments.drift import drift
from environments.models import Host
from pipelines import selectors
from pipelines.gpu_selectors import gpu_hours, gpu_slots
from pipelines.kinds.setup_host import problems_of
from platform_site.common.pages import may_operate, needs
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for

LOG_TAIL: Final = 8 << 10


@require_GET
@needs(Role.VIEWER)
def system(request: HttpRequest) -> HttpResponse:
    visible = Host.objects.filter(project__in=projects_for(request.user))
    hosts = [(host, training.state(host), drift(host), not problems_of(host)) for host in visible]
    here, state, compared, can_set_up = next((one for one in hosts if one[0].is_local), (None, None, None, False))
    context = {
        "hosts": hosts,
        "others": [one for one in hosts if not one[0].is_local],
        "here": here,
        "state": state,
        "drift": compared,
        "can_set_up": can_set_up,
        "policy": settings.ENVIRONMENT_POLICY,
        # What the set-up says can name this machine's folders: for those who run things here.
        "log": tail(state.log) if state is not None and may_operate(request) else "",
        "overview": selectors.overview(request.user),
        "gpu_hosts": gpu_slots(request.user),
        "gpu_hours": gpu_hours(request.user),
    }
    return render(request, "system/system.html", context)


@require_GET
@needs(Role.VIEWER)
def training_banner(request: HttpRequest) -> HttpResponse:
    """What every page says of the training environment, alone: it asks for this while it is installing."""
    host = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk").first()
    state = training.state(host) if host is not None else None
    return render(request, "partials/_training_banner.html", {"training": state})


def tail(path: str) -> str:
    """The last lines of a text file; empty when there is none."""
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= LOG_TAIL else text.partition("\n")[2]
