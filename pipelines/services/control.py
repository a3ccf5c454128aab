"""Start, pause, resume and retry pipelines and their stages. Cancelling has a module of its own."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from pipelines import graph
from pipelines.kinds import kind_of
from pipelines.messages import send_dispatch
from pipelines.models import Job, Pipeline, Stage
from pipelines.services import find
from pipelines.services.advance import advance
from pipelines.services.params import param_problems
from pipelines.states import PIPELINE_TERMINAL, PipelineEvent, PipelineStatus, StageEvent, StageStatus
from pipelines.transitions import move_pipeline, move_stage
from platform_site.common import audit
from platform_site.common.errors import Conflict, Invalid, NotFound
from platform_site.common.models import User

RETRIED = (StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED)


def held(pipeline_id: UUID) -> Pipeline:
    """The pipeline, its row locked until the transaction ends. Raises NotFound: it may have been deleted just now."""
    found = Pipeline.objects.select_for_update().filter(pk=pipeline_id).first()
    if found is None:
        raise NotFound(_("There is no such pipeline."))
    return found


def start_pipeline(pipeline_id: UUID, *, user: User) -> None:
    """Queue what needs nothing. Raises Conflict unless it is pending."""
    _move(pipeline_id, PipelineEvent.START, user, _("Only a pending pipeline can be started; this one is %(status)s."))


def pause_pipeline(pipeline_id: UUID, *, user: User) -> None:
    """Nothing new starts; what runs goes on. Raises Conflict unless it is running."""
    _move(pipeline_id, PipelineEvent.PAUSE, user, _("Only a running pipeline can be paused; this one is %(status)s."))


def resume_pipeline(pipeline_id: UUID, *, user: User) -> None:
    """Raises Conflict unless it is paused."""
    _move(pipeline_id, PipelineEvent.RESUME, user, _("Only a paused pipeline can be resumed; this one is %(status)s."))


def _move(pipeline_id: UUID, event: PipelineEvent, user: User, refusal: str) -> None:
    actor = user.get_username()
    with transaction.atomic():
        pipeline = held(pipeline_id)
        if not move_pipeline(pipeline_id, event, actor=actor):
            raise Conflict(refusal % {"status": pipeline.status})
        audit.record(f"pipeline.{event}", user, pipeline)
        _go_on(pipeline_id, actor)


def retry_pipeline(pipeline_id: UUID, *, user: User) -> None:
    """Try again what failed, was cancelled or was skipped; what completed stays. Raises Conflict unless it ended so."""
    with transaction.atomic():
        pipeline = held(pipeline_id)
        stages = Stage.objects.filter(pipeline=pipeline, status__in=RETRIED).order_by("order")
        if pipeline.status not in (PipelineStatus.FAILED, PipelineStatus.CANCELLED):
            raise Conflict(
                _("Only a failed or cancelled pipeline can be retried; this one is %(status)s.")
                % {"status": pipeline.status}
            )
        _reopen(pipeline, list(stages), user)
        audit.record("pipeline.retry", user, pipeline)


def retry_stage(stage: Stage, *, user: User, params: dict[str, Any] | None = None) -> None:
    """Try one stage again, and whatever was skipped because of it; `params` replace its parameters of that name.

    Raises Conflict unless it failed or was cancelled, Invalid when the parameters will not do.
    """
    with transaction.atomic():
        pipeline = held(stage.pipeline_id)
        stages = list(Stage.objects.filter(pipeline=pipeline).prefetch_related("depends_on").order_by("order"))
        stage = next(found for found in stages if found.pk == stage.pk)
        if stage.status not in (StageStatus.FAILED, StageStatus.CANCELLED):
            raise Conflict(
                _("Only a failed or cancelled stage can be retried; this one is %(status)s.") % {"status": stage.status}
            )
        unmet = [above.name for above in stage.depends_on.all() if above.status != StageStatus.COMPLETED]
        if unmet:
            raise Conflict(_("It needs stages that did not complete: %(names)s.") % {"names": ", ".join(unmet)})
        nodes = [graph.Node(found.name, tuple(above.name for above in found.depends_on.all())) for found in stages]
        if params:
            kind_of_stage = {found.name: found.kind for found in stages}
            _change(stage, params, user, {name: kind_of_stage[name] for name in graph.Above(nodes).of(stage.name)})
        below = graph.below(nodes, stage.name)
        chosen = [stage, *(found for found in stages if found.name in below and found.status in RETRIED)]
        _reopen(pipeline, chosen, user)
        audit.record("stage.retry", user, stage, params=params or {})


def _change(stage: Stage, params: dict[str, Any], user: User, above: Mapping[str, str]) -> None:
    wanted = {**stage.params, **params}
    wrong = param_problems(user, stage.kind, wanted, above)
    if wrong:
        name, told = next(iter(wrong.items()))
        raise Invalid(f"{name}: {told}", wrong)
    stage.params = wanted
    stage.host = find.host(user, wanted.get("host"))
    stage.save(update_fields=["params", "host"])
    kind_of(stage.kind).attach(stage, user)


def _reopen(pipeline: Pipeline, stages: list[Stage], user: User) -> None:
    actor = user.get_username()
    # Whoever wants it to go on takes back an earlier wish for its end.
    Pipeline.objects.filter(pk=pipeline.pk).update(cancel_asked_at=None)
    # What was said of how it went, was said of the end that it had.
    Job.objects.filter(stage__in=stages).update(judged="")
    for stage in stages:
        move_stage(stage.pk, StageEvent.REOPEN, actor=actor, reason="retry")
    if pipeline.status in PIPELINE_TERMINAL:
        move_pipeline(pipeline.pk, PipelineEvent.REOPEN, actor=actor, reason="retry")
    _go_on(pipeline.pk, actor)


def _go_on(pipeline_id: UUID, actor: str) -> None:
    advance(pipeline_id, actor=actor)
    transaction.on_commit(send_dispatch, robust=True)
