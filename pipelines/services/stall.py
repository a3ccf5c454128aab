"""A run that lives and does nothing: found by the clock, looked into, and ended where its recipe says so."""

import logging
from typing import Any, Final

from django.conf import settings

from environments.services.runtime_copy import ensure_runtime
from environments.transports import Transport, TransportError, Unreachable
from monitoring.diagnostics import engine
from monitoring.diagnostics.rules import rules_for
from monitoring.diagnostics.rules.stall import RULE
from monitoring.models import Diagnosis, Finding
from monitoring.services.diagnose import keep_one
from monitoring.thresholds import limits_for
from pipelines.models import Attempt
from pipelines.states import StageStatus
from platform_site.common import clock

logger = logging.getLogger(__name__)

MOST_LINES: Final = 60
DUMP_S: Final = 60.0


def look(attempt: Attempt, transport: Transport) -> None:
    """Find out whether a run stands still, once each time it does. Raises Unreachable."""
    if attempt.stage.status != StageStatus.RUNNING or attempt.host is None:
        return
    job = getattr(attempt.stage, "job", None)
    known = None if job is None else job.stream.updated_at
    if known is not None and clock.age_s(known) <= settings.STALL_AFTER_S:
        return  # what this look has read makes it younger still
    diagnosis = Diagnosis.objects.select_related("stream").filter(stream_id=attempt.stage_id).first()
    if diagnosis is None or diagnosis.attempt != attempt.number or diagnosis.stream.updated_at is None:
        return
    idle_s = clock.age_s(diagnosis.stream.updated_at)
    if idle_s <= settings.STALL_AFTER_S:
        return
    rules = rules_for(diagnosis.stream.algorithm)
    state = engine.State.from_json(diagnosis.state, rules)
    known = state.metrics.get(RULE.name, {}).get("") if state is not None else None
    if state is None or known is None or _told(attempt, state.upto):
        return
    limits = {**RULE.limits, **limits_for(diagnosis.stream).get(RULE.name, {})}
    mark = RULE.judge(known, state.upto, idle_s, limits)
    if mark is None:
        return
    lines = stacks(attempt, transport).splitlines()[-MOST_LINES:]
    params: dict[str, Any] = {**mark.params, "lines": lines}
    keep_one(attempt.stage_id, attempt.number, engine.begun(RULE, "", mark._replace(params=params)))
    logger.warning("Job %s: no step for %d s after step %d", attempt.stage_id, idle_s, state.upto)


def stacks(attempt: Attempt, transport: Transport) -> str:
    """Where the threads of the trainer stand; why not, where that cannot be found out. Raises Unreachable."""
    assert attempt.host is not None
    runtime = ensure_runtime(attempt.host, transport)
    python = attempt.host.python or "python3"
    try:
        answer = transport.run(
            [python, "-P", "-m", "platform_runtime.stacks", attempt.folder],
            env={"PYTHONPATH": runtime, "PATH": "/usr/local/bin:/usr/bin:/bin"},
            timeout_s=DUMP_S,
        )
    except Unreachable:
        raise
    except TransportError as error:
        return str(error)
    return (answer.stdout or answer.stderr).decode(errors="replace")


def _told(attempt: Attempt, step: int) -> bool:
    return Finding.objects.filter(
        stream_id=attempt.stage_id, attempt=attempt.number, rule=RULE.name, start_step=step
    ).exists()
