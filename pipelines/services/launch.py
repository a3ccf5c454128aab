"""Start the process of an attempt that dispatch gave a slot."""

import logging
from contextlib import nullcontext
from uuid import UUID

from django.utils import timezone

from environments import launchers, training
from environments.launchers import Launch
from environments.models import Host
from environments.services import reach
from environments.services.runtime_copy import ensure_runtime
from environments.transports import TransportError, Unfinished, Unreachable, for_host
from pipelines.folders import run_folder
from pipelines.kinds import InlineKind, RunnerKind, kind_of
from pipelines.models import Attempt
from pipelines.services.finish import end_unstarted
from pipelines.services.inline import run_inline
from pipelines.services.leases import preparing
from pipelines.services.params import params_of
from pipelines.states import StageStatus
from platform_site.common.errors import PlatformError

logger = logging.getLogger(__name__)


def launch(attempt_id: UUID, *, worker: str = "") -> bool:
    """Launch once, however often this is called; True when a runner was sent off.

    Between any two lines here the process may die, or sleep until long after the stage was cancelled: the claim in
    the run folder decides, not this function.
    """
    attempt = Attempt.objects.select_related("stage", "host").filter(pk=attempt_id, outcome="").first()
    if attempt is None or attempt.host is None or attempt.stage.status != StageStatus.STARTING:
        return False
    host, kind = attempt.host, kind_of(attempt.stage.kind)
    if isinstance(kind, InlineKind):
        return run_inline(attempt, kind, worker=worker)
    if host.unreachable_since is not None:
        return False  # no worker waits for it: the observer does, and sends this again
    assert isinstance(kind, RunnerKind), "there are two sorts"
    with preparing(attempt) if not host.is_local else nullcontext(True) as mine:
        return mine and _launch(attempt, host, kind, worker)


def _launch(attempt: Attempt, host: Host, kind: RunnerKind, worker: str) -> bool:
    stage, transport, folder = attempt.stage, for_host(host), run_folder(attempt)
    try:
        if transport.stat(folder.claim) is not None:
            return False
        command = kind.prepare(stage, params_of(stage), attempt, transport)
        wanted = Launch(
            folder=folder,
            command=command,
            python=training.any_python(host),
            runtime=ensure_runtime(host, transport),
            gpus=attempt.gpus,
            uses_ray=kind.uses_ray(stage),
        )
        if not _offered(attempt, worker):
            return False
        launchers.start(host, wanted, transport)
    except Unreachable as error:
        # Unknown whether it started: the observer looks before anything is tried again.
        logger.warning("Launch of %s: %s does not answer: %s", attempt.pk, host.name, error)
        reach.noticed(host, error)
        return False
    except Unfinished as error:
        logger.info("Launch of %s goes on: %s", attempt.pk, error)
        return False
    except (PlatformError, TransportError) as error:
        end_unstarted(attempt, transport, reason=str(error))
        return False
    return True


def _offered(attempt: Attempt, worker: str) -> bool:
    """Written down before it is: of what was never offered everybody may know that nothing of it began. False when the
    attempt was ended meanwhile."""
    fields = {"offered_at": timezone.now()} | ({"worker": worker} if worker else {})
    return Attempt.objects.filter(pk=attempt.pk, outcome="").update(**fields) == 1
