"""What the platform's own processes do to the database, as fast as they can: each function is one turn."""

import time
from collections import Counter

from django.db import connections, transaction

from environments.models import Host
from pipelines.kinds import Verdict
from pipelines.models import Attempt, Stage
from pipelines.services import cancel, finish
from pipelines.services.advance import advance
from pipelines.services.dispatch import dispatch
from pipelines.states import STAGE_TERMINAL, PipelineEvent, PipelineStatus, StageStatus
from pipelines.transitions import move_pipeline
from platform_site.common.errors import Conflict
from platform_site.common.models import User

from . import builders


def web(did: Counter[str]) -> None:
    """A person starts a pipeline, and cancels an older stage."""
    pipeline = builders.pipeline(PipelineStatus.PENDING)
    Stage.objects.create(pipeline=pipeline, name="train", kind="script", queue="training", params={"script": "pass"})
    move_pipeline(pipeline.id, PipelineEvent.START, actor="web")
    advance(pipeline.id)
    did["started"] += 1
    old = Stage.objects.exclude(status__in=STAGE_TERMINAL).order_by("created_at").first()
    if old is not None and did["started"] % 3 == 0:
        try:
            cancel.cancel_stage(old.pk, user=User.objects.get(username="bob"))
            did["cancelled"] += 1
        except Conflict:  # it ended just before
            did["too late"] += 1


def observer(did: Counter[str]) -> None:
    """All that is under way moves on by one step. That another observer was first is no error."""
    dispatch()
    for attempt in Attempt.objects.select_related("stage", "host").filter(outcome="", host__isnull=False)[:20]:
        match attempt.stage.status:
            case StageStatus.STARTING:
                did["ran"] += finish.started(attempt, {})
            case StageStatus.RUNNING:
                did["completed"] += finish.complete(attempt, Verdict(True, result={"value": 1}), {})
            case StageStatus.CANCELLING:
                did["ended"] += finish.cancelled(attempt, Verdict(False), {})


def write(role: str, seconds: float, shared: int) -> Counter[str]:
    """Turn after turn for some seconds; how often what was done. `failures` of the host `shared` counts the turns."""
    did: Counter[str] = Counter()
    work, until = {"web": web, "observer": observer}[role], time.monotonic() + seconds
    while time.monotonic() < until:
        work(did)
        with transaction.atomic():
            host = Host.objects.select_for_update().get(pk=shared)
            host.failures += 1
            host.save(update_fields=["failures"])
        did["turns"] += 1
    connections.close_all()
    return did
