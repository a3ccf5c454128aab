"""Cancel a stage or a pipeline: at once what has not started, by request what runs."""

import logging
from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.services import reach
from environments.transports import TransportError, Unreachable, for_host
from pipelines.kinds import is_inline
from pipelines.messages import send_stop
from pipelines.models import Attempt, Queue, Stage
from pipelines.services import finish, inline, silent
from pipelines.services.advance import advance
from pipelines.states import (
    PIPELINE_TERMINAL,
    STAGE_ACTIVE,
    STAGE_TERMINAL,
    Outcome,
    PipelineEvent,
    StageEvent,
    StageStatus,
)
from pipelines.transitions import Moves, Step, move_pipeline, move_stage, moving
from platform_site.common import audit
from platform_site.common.errors import Conflict, NotFound
from platform_site.common.models import User

logger = logging.getLogger(__name__)


def cancel_stage(stage_id: UUID, *, user: User) -> None:
    """Ask for the end of a stage. Raises Conflict when it has ended already; asking twice is fine."""
    status = _cancel(stage_id, user.get_username())
    if status is None:
        raise NotFound(_("There is no such stage."))
    if status in STAGE_TERMINAL and status is not StageStatus.CANCELLED:
        raise Conflict(_("The run has already ended: it is %(status)s.") % {"status": status.value})
    stage = Stage.objects.filter(pk=stage_id).first()
    if stage is not None:  # else it was deleted since, once it had ended
        audit.record("stage.cancel", user, stage)


def cancel_pipeline(pipeline_id: UUID, *, user: User) -> None:
    """Ask for the end of every stage that has not ended, in one transaction. Raises Conflict when the pipeline has."""
    actor = user.get_username()
    with transaction.atomic():
        # As dispatch does, before the pipeline's row: it writes why stages wait without that row, and two that write
        # many stages, each in an order of its own, would wait for each other.
        own = Stage.objects.filter(pipeline=pipeline_id).values("queue")
        list(Queue.objects.select_for_update().filter(pk__in=own).order_by("-priority", "name"))
        with moving(pipeline_id) as moves:
            pipeline = moves.pipeline
            if pipeline is None:
                raise NotFound(_("There is no such pipeline."))
            if pipeline.status in PIPELINE_TERMINAL:
                raise Conflict(_("The pipeline has already ended: it is %(status)s.") % {"status": pipeline.status})
            pipeline.cancel_asked_at = timezone.now()
            pipeline.save(update_fields=["cancel_asked_at"])
            stages = Stage.objects.filter(pipeline=pipeline).order_by("-order")
            for status in (StageStatus.PENDING, StageStatus.QUEUED):
                _cancel_together(moves, list(stages.filter(status=status).values_list("pk", flat=True)), status, actor)
            for stage_id in stages.filter(status__in=STAGE_ACTIVE).values_list("pk", flat=True):
                _cancel(stage_id, actor)
            audit.record("pipeline.cancel", user, pipeline)
            advance(pipeline_id, actor=actor)
            _end_unstarted(pipeline_id, actor)


def _cancel_together(moves: Moves, stages: list[UUID], status: StageStatus, actor: str) -> None:
    """Those that wait, read under the pipeline's lock, which all who move them take: none can have moved since."""
    if stages:
        moves.stages(dict.fromkeys(stages, 0), Step(StageEvent.CANCEL, actor), before=status)
        _close(stages)


def _close(stages: Collection[UUID]) -> None:
    """End the attempts at stages of which nothing has started."""
    opened = Attempt.objects.filter(stage__in=stages, outcome="")
    opened.update(outcome=Outcome.CANCELLED, completed_at=timezone.now())


def _end_unstarted(pipeline_id: UUID, actor: str) -> None:
    """A pipeline that never started is no business of `advance`; of any other this move does not take."""
    if _nothing_runs(pipeline_id):
        move_pipeline(pipeline_id, PipelineEvent.CANCEL, actor=actor)


def _nothing_runs(pipeline_id: UUID) -> bool:
    return not Stage.objects.filter(pipeline_id=pipeline_id).exclude(status__in=STAGE_TERMINAL).exists()


def _cancel(stage_id: UUID, actor: str) -> StageStatus | None:
    """Move the stage towards its end, whatever it does meanwhile; the status it was seen in last."""
    # A move that did not take means that the stage moved on between the look and the move: look again.
    for _try in range(10):
        stage = Stage.objects.filter(pk=stage_id).first()
        if stage is None:
            return None
        status = StageStatus(stage.status)
        if status in STAGE_TERMINAL or status is StageStatus.CANCELLING:
            return status
        if status in (StageStatus.PENDING, StageStatus.QUEUED):
            if _cancel_waiting(stage, status, actor):
                return StageStatus.CANCELLED
        elif status is StageStatus.STARTING and _end_unseen(stage, actor):
            return StageStatus.CANCELLED
        elif _request(stage, actor):
            return StageStatus.CANCELLING
    raise Conflict(_("The run changes too fast to be cancelled. Try again."))


def _cancel_waiting(stage: Stage, status: StageStatus, actor: str) -> bool:
    with transaction.atomic():
        if not move_stage(stage.id, StageEvent.CANCEL, actor=actor, only_from=status):
            return False
        _close([stage.pk])
        advance(stage.pipeline_id, actor=actor)
        _end_unstarted(stage.pipeline_id, actor)
    return True


def _end_unseen(stage: Stage, actor: str) -> bool:
    attempt = Attempt.objects.select_related("stage", "host").filter(stage=stage, outcome="").first()
    return attempt is not None and silent.cancel_unseen(attempt, actor=actor)


def _request(stage: Stage, actor: str) -> bool:
    with transaction.atomic():
        if not move_stage(stage.id, StageEvent.REQUEST_CANCEL, actor=actor):
            return False
        attempt = Attempt.objects.select_related("host").filter(stage=stage, outcome="").first()
        if attempt is not None:
            remote = attempt.host is not None and not attempt.host.is_local
            transaction.on_commit(lambda: send_stop(attempt.pk, remote=remote), robust=True)
    return True


def stop_attempt(attempt_id: UUID) -> None:
    """Carry out a requested cancel on the host. Should this be lost, the observer does it at its next look."""
    attempt = Attempt.objects.select_related("stage", "host").filter(pk=attempt_id, outcome="").first()
    if attempt is None or attempt.host is None or attempt.stage.status != StageStatus.CANCELLING:
        return
    if is_inline(attempt.stage.kind):
        inline.observe(attempt)
        return
    if attempt.host.unreachable_since is not None:
        silent.cancel_unseen(attempt, actor="cancel")
        return
    transport = for_host(attempt.host)
    try:
        if finish.revoke(attempt, transport):
            finish.cancel_unstarted(attempt, actor="cancel")
            return
        if transport.stop(attempt.folder) == "signalled":
            Attempt.objects.filter(pk=attempt_id, stop_sent_at=None).update(stop_sent_at=timezone.now())
    except Unreachable as error:
        logger.warning("Stopping %s: %s", attempt.folder, error)
        reach.noticed(attempt.host, error)
        silent.cancel_unseen(attempt, actor="cancel")
    except TransportError as error:
        logger.warning("Stopping %s: %s", attempt.folder, error)
