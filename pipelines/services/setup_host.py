"""Set a host up: a pipeline of one stage, with a log, a way to cancel it, and its place in the history."""

import logging
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.messages import announce
from environments.models import Host
from environments.services.drift import compare
from pipelines.kinds.setup_host import problems_of
from pipelines.models import Pipeline, Stage
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.states import STAGE_TERMINAL, StageStatus
from platform_site.common import audit
from platform_site.common.errors import Conflict, Invalid, PlatformError
from platform_site.common.models import User
from platform_site.common.roles import Role

logger = logging.getLogger(__name__)

KIND: Final = "setup_host"
POLICY: Final = "environment policy"
"""As who the platform sets a host up by itself."""
PAUSE: Final = timedelta(days=1)
"""After a set-up that failed, nobody but a person begins another for so long."""


def set_up(user: User, host: Host, *, packages: str = "", wheelhouse: bool = False, reason: str = "") -> Pipeline:
    """Started when this returns. `packages`: cpu, cuda, or what the machine has. Raises Invalid, Conflict."""
    params: dict[str, Any] = {"host": host.name}
    if packages:
        params["packages"] = packages
    if wheelhouse:
        params["wheelhouse"] = True
    name = _("Set up %(host)s") % {"host": host.name}
    spec = PipelineSpec(name, [StageSpec("setup", KIND, params)], description=reason, priority=8)
    try:
        with transaction.atomic():
            # Two that ask at once both find nothing: the host's row lets the second look when the first is done.
            Host.objects.select_for_update().filter(pk=host.pk).first()
            if Stage.objects.filter(kind=KIND, host=host).exclude(status__in=STAGE_TERMINAL).exists():
                raise Conflict(_("This host is being set up already."))
            return create_pipeline(user=user, spec=spec, start=True)
    except Invalid as error:
        told = {name.removeprefix("stages.0.params."): " ".join(said) for name, said in error.fields.items()}
        raise Invalid(next(iter(told.values()), error.message), told, code="cannot_set_up") from error


def latest(host: Host) -> Stage | None:
    """The host's last set-up."""
    return Stage.objects.select_related("pipeline").filter(kind=KIND, host=host).order_by("-created_at").first()


def administrator() -> User | None:
    """The first administrator: in whose name the platform, and its command line, set hosts up."""
    admins = Q(is_superuser=True) | Q(groups__name=Role.ADMIN.slug)
    return User.objects.filter(admins, is_active=True).order_by("pk").first()


def look(host_id: int) -> Pipeline | None:
    """Check a host and compare its environment with what the platform needs; where it differs, do what the policy says.

    The set-up that was begun, if any. A host that does not answer is no error: its page says so.
    """
    host = Host.objects.filter(pk=host_id).first()
    if host is None:
        return None
    try:
        found = compare(host)
    except PlatformError as error:
        logger.warning("The environment of host %s was not compared: %s", host.name, error.message)
        return None
    finally:
        # Not where it was changed meanwhile: then it is checked anew, and that check goes on.
        Host.objects.filter(pk=host.pk, checking_since=host.checking_since).update(checking_since=None)
        announce(host)
    if not found.differs:
        return None
    logger.warning("The environment of host %s differs in %s places", host.name, found.count)
    return _bring_up_to_date(host) if settings.ENVIRONMENT_POLICY == "update" else None


def _bring_up_to_date(host: Host) -> Pipeline | None:
    """As it was set up the last time: from the wheelhouse, if that was the way."""
    user, last = administrator(), latest(host)
    if user is None or problems_of(host):
        return None
    if last is not None and last.status == StageStatus.FAILED and last.created_at > timezone.now() - PAUSE:
        logger.warning("The last set-up of host %s failed: a person has to begin the next", host.name)
        return None
    params = last.params if last is not None else {}
    reason = _("Begun by the platform: the environment is not what it needs (ANNEAL_ENVIRONMENT_POLICY).")
    try:
        pipeline = set_up(user, host, wheelhouse=bool(params.get("wheelhouse")), reason=reason)
    except PlatformError as error:
        logger.warning("Host %s was not brought up to date: %s", host.name, error.message)
        return None
    audit.record("host.update_environment", POLICY, host, name=host.name, pipeline=str(pipeline.pk))
    return pipeline
