"""Take in what a run has written: metrics, machine, rollouts, progress."""

import logging
from collections.abc import Sequence
from typing import Any

from environments.models import Host
from environments.transports import Tail, Transport, Unreachable
from monitoring.services.diagnose import refresh
from monitoring.services.sync import SyncResult
from pipelines.kinds import runner_kind
from pipelines.models import Attempt
from pipelines.services import stall
from pipelines.services.progress import keep_progress
from platform_site.common.outages import PASSING

logger = logging.getLogger(__name__)


def ahead(attempt: Attempt, probe: dict[str, Any]) -> list[Tail]:
    """What `look` will ask the attempt's host for first."""
    return runner_kind(attempt.stage.kind).ahead(attempt.stage, attempt) if _has_begun(probe) else []


def look(attempt: Attempt, probe: dict[str, Any], transport: Transport) -> SyncResult:
    """Take in what is new of one attempt."""
    if not _has_begun(probe):
        return SyncResult()
    found = _read(attempt, transport)
    if runner_kind(attempt.stage.kind).has_stream:
        stall.look(attempt, transport)
    else:
        keep_progress(attempt, probe)
    return found


def read_out(attempt: Attempt, transport: Transport) -> None:
    """Take in all that an attempt left: no look follows. What is known of it from before may be behind by now."""
    _read(Attempt.objects.select_related("stage__job__stream", "host").get(pk=attempt.pk), transport)
    try:
        refresh(attempt.stage_id)
    except PASSING:
        raise
    except Exception:
        # What the doctor cannot read says nothing against the run.
        logger.exception("Diagnosing %s failed", attempt.folder)


def sum_up(host: Host, looks: Sequence[SyncResult]) -> None:
    updated = [found for found in looks if found.new_steps]
    if updated:
        logger.info(
            "Host %s: updated_count=%d total_running=%d total_new_metrics=%d anomaly_count=%d",
            host.name,
            len(updated),
            len(looks),
            sum(found.new_steps for found in updated),
            sum(found.has_anomaly for found in looks),
        )


def _has_begun(probe: dict[str, Any]) -> bool:
    return probe.get("process") is not None or bool(probe.get("runner_alive"))


def _read(attempt: Attempt, transport: Transport) -> SyncResult:
    """Take in what is new. What cannot be read must not keep a run from ending: it is judged by what was."""
    try:
        return runner_kind(attempt.stage.kind).observe(attempt.stage, attempt, transport)
    except (Unreachable, *PASSING):
        raise  # it passes, and the next look reads on
    except Exception:
        logger.exception("Reading %s failed", attempt.folder)
        return SyncResult()
