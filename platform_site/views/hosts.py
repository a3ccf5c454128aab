"""The pages of hosts: those that do not answer first; adding one step by step."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from environments import training
from environments.drift import drift
from environments.forms import FORMS
from environments.models import Host
from environments.selectors import host_for, hosts_for
from environments.services import hosts as services
from environments.services.setup_copy import wheels
from environments.transports.connection import fingerprint
from pipelines.kinds.setup_host import problems_of
from pipelines.models import Stage
from pipelines.services import setup_host
from pipelines.states import STAGE_ACTIVE, STAGE_TERMINAL
from platform_site.common.access import may
from platform_site.common.errors import Conflict, Invalid, NotFound, PlatformError
from platform_site.common.pages import may_operate, needs, visitor
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for


@dataclass(frozen=True)
class Steps:
    """How far a new host has come, one over SSH or a cluster: each step is done, or the first that is not is the next.

    `enrolled`: nothing secret would go to a machine that nobody knows.
    """

    enrolled: bool
    checked: bool
    ready: bool

    @property
    def now(self) -> str:
        found = {"enroll": self.enrolled, "check": self.checked, "setup": self.ready}
        return next((name for name, done in found.items() if not done), "ready")


@require_GET
@needs(Role.VIEWER)
def hosts(request: HttpRequest) -> HttpResponse:
    busy = _busy()
    found = [(host, training.state(host), drift(host), busy.get(host.pk, 0)) for host in hosts_for(request.user)]
    return render(request, "hosts/list.html", {"hosts": found, "can_administer": may(request, Role.ADMIN)})


@require_GET
@needs(Role.VIEWER)
def host(request: HttpRequest, name: str) -> HttpResponse:
    found = host_for(request.user, name)
    state = training.state(found)
    setup = setup_host.latest(found)
    context = {
        "host": found,
        "state": state,
        "drift": drift(found),
        "policy": settings.ENVIRONMENT_POLICY,
        "can_set_up": not problems_of(found),
        "steps": Steps(_enrolled(found), found.facts_at is not None, state.ready),
        "fingerprint": fingerprint(found.host_key),
        "setup": setup,
        "setting_up": setup is not None and setup.status not in STAGE_TERMINAL,
        "checking": services.is_being_checked(found),
        "automatic": _automatic(found, state),
        "wheels": bool(wheels()),
        "busy": _busy().get(found.pk, 0),
        "can_operate": may_operate(request),
        "can_administer": may(request, Role.ADMIN),
    }
    return render(request, "hosts/detail.html", context)


def _enrolled(host: Host) -> bool:
    """By its host key; a cluster by the certificate of its address."""
    return host.kind != Host.Kind.SSH or bool(host.host_key)


def _automatic(host: Host, state: training.TrainingState) -> str:
    """What a set-up installs where nobody chooses: the kind that is installed, else what suits the machine."""
    if state.ready:
        return "installed"
    return "cuda" if host.facts.get("gpus") else "cpu"


def _busy() -> dict[int, int]:
    """Host -> runs on it now."""
    found: dict[int, int] = {}
    live = Stage.objects.filter(status__in=STAGE_ACTIVE, attempts__outcome="", attempts__host__isnull=False)
    for host_id in live.values_list("attempts__host", flat=True):
        found[host_id] = found.get(host_id, 0) + 1
    return found


@require_http_methods(["GET", "POST"])
@needs(Role.ADMIN)
def new_host(request: HttpRequest) -> HttpResponse:
    """A machine over SSH; with `?kind=ray` a Ray cluster."""
    kind = Host.Kind.RAY if request.GET.get("kind") == Host.Kind.RAY else Host.Kind.SSH
    form = FORMS[kind]()
    if request.method == "POST":
        form = FORMS[kind](request.POST)
        project = projects_for(request.user).order_by("id").first()
        if project is None:
            raise NotFound(_("There is no project yet. Run manage.py install_builtins."))
        if form.is_valid():
            try:
                made = services.create(visitor(request), project, form.cleaned_data["name"], form.asked(), kind)
            except (Invalid, Conflict) as error:
                form.tell(error)
            else:
                return redirect("host", name=made.name)
    context = {"form": form, "host": None, "kind": kind}
    return render(request, "hosts/form.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
@needs(Role.ADMIN)
def edit_host(request: HttpRequest, name: str) -> HttpResponse:
    found = host_for(request.user, name)
    form, status = FORMS[found.kind](host=found), 422
    if request.method == "POST":
        form = FORMS[found.kind](request.POST, host=found)
        if form.is_valid():
            try:
                services.update(visitor(request), found, form.asked(), revision=form.cleaned_data["revision"])
            except (Invalid, Conflict) as error:
                form.tell(error)
                status = error.http_status
            else:
                messages.success(request, _("Host %(host)s was changed.") % {"host": found.name})
                return redirect("host", name=found.name)
    context = {"form": form, "host": found, "kind": found.kind}
    return render(request, "hosts/form.html", context, status=status if form.errors else 200)


@require_http_methods(["GET", "POST"])
@needs(Role.ADMIN)
def enroll_host(request: HttpRequest, name: str) -> HttpResponse:
    """Shows the host's key, to be compared with what the host itself says; then pins it."""
    found = host_for(request.user, name)
    context: dict[str, Any] = {"host": found}
    try:
        if request.method == "POST":
            services.enrol(visitor(request), found, request.POST.get("fingerprint", ""))
            messages.success(request, _("The host key of %(host)s is enrolled.") % {"host": found.name})
            return redirect("host", name=found.name)
        context["key"] = services.shown_key(found)
    except PlatformError as error:
        context["problem"] = error.message
    return render(request, "hosts/enroll.html", context, status=409 if request.method == "POST" else 200)


@require_POST
@needs(Role.OPERATOR)
def check_host(request: HttpRequest, name: str) -> HttpResponse:
    """By a worker: the page says that it is being checked, and is told what came of it."""
    found = host_for(request.user, name)
    try:
        services.begin_check(found)
    except Conflict as error:
        messages.error(request, error.message)
    return redirect("host", name=found.name)


@require_POST
@needs(Role.ADMIN)
def set_up_host(request: HttpRequest, name: str) -> HttpResponse:
    found = host_for(request.user, name)
    packages, wheelhouse = request.POST.get("packages", ""), request.POST.get("wheelhouse") == "on"
    try:
        pipeline = setup_host.set_up(visitor(request), found, packages=packages, wheelhouse=wheelhouse)
    except PlatformError as error:
        messages.error(request, error.message)
        return redirect("host", name=found.name)
    return redirect("pipeline", pipeline_id=pipeline.pk)


@require_http_methods(["GET", "POST"])
@needs(Role.ADMIN)
def delete_host(request: HttpRequest, name: str) -> HttpResponse:
    found: Host = host_for(request.user, name)
    if request.method == "POST":
        try:
            services.delete(visitor(request), found)
        except Conflict as error:
            messages.error(request, error.message)
            return redirect("host", name=name)
        messages.success(request, _("Host %(host)s was forgotten.") % {"host": name})
        return redirect("hosts")
    return render(request, "hosts/delete.html", {"host": found})
