"""Set a host up: a pipeline of one stage, with a log, a way to cancel it, and its place in the history."""

from typing import Any, Final

from django.utils.translation import gettext as _

from environments.models import Host
from pipelines.models import Pipeline, Stage
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.states import STAGE_TERMINAL
from platform_site.common.errors import Conflict, Invalid
from platform_site.common.models import User

KIND: Final = "setup_host"


def set_up(user: User, host: Host, *, packages: str = "", wheelhouse: bool = False) -> Pipeline:
    """Started when this returns. `packages`: cpu, cuda, or what the machine has. Raises Invalid, Conflict."""
    if Stage.objects.filter(kind=KIND, host=host).exclude(status__in=STAGE_TERMINAL).exists():
        raise Conflict(_("This host is being set up already."))
    params: dict[str, Any] = {"host": host.name}
    if packages:
        params["packages"] = packages
    if wheelhouse:
        params["wheelhouse"] = True
    spec = PipelineSpec(_("Set up %(host)s") % {"host": host.name}, [StageSpec("setup", KIND, params)], priority=8)
    try:
        return create_pipeline(user=user, spec=spec, start=True)
    except Invalid as error:
        told = {name.removeprefix("stages.0.params."): " ".join(said) for name, said in error.fields.items()}
        raise Invalid(next(iter(told.values()), error.message), told, code="cannot_set_up") from error


def latest(host: Host) -> Stage | None:
    """The host's last set-up."""
    return Stage.objects.select_related("pipeline").filter(kind=KIND, host=host).order_by("-created_at").first()
