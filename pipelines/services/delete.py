"""Forget a pipeline that has ended: rows first, then the files of its runs."""

import logging

from django.db import transaction
from django.utils.translation import gettext as _

from environments.transports import TransportError, for_host
from monitoring.models import Stream
from pipelines.folders import attempt_path
from pipelines.models import Attempt, Job, Pipeline
from pipelines.services.control import held
from pipelines.states import PIPELINE_TERMINAL, STAGE_TERMINAL, PipelineStatus
from platform_site.common import audit, live
from platform_site.common.errors import Conflict
from platform_site.common.models import User

logger = logging.getLogger(__name__)


def delete_pipeline(pipeline: Pipeline, *, user: User) -> None:
    """Raises Conflict while it runs, and while a run that began from one of its checkpoints does. A file that cannot be
    removed is logged and does no harm."""
    with transaction.atomic():
        pipeline = held(pipeline.pk)
        if pipeline.status not in {*PIPELINE_TERMINAL, PipelineStatus.PENDING}:
            raise Conflict(
                _("A pipeline that is %(status)s cannot be deleted. Cancel it first.") % {"status": pipeline.status}
            )
        stages = list(pipeline.stages.values_list("pk", flat=True))
        needed_by = (
            Job.objects.filter(forked_from__stage__in=stages)
            .exclude(stage__in=stages)
            .exclude(stage__status__in=STAGE_TERMINAL)
            .first()
        )
        if needed_by is not None:
            raise Conflict(
                _("The run %(name)s begins from a checkpoint of this pipeline and has not ended yet.")
                % {"name": needed_by.name}
            )
        attempts = Attempt.objects.select_related("host").filter(stage__in=stages, host__isnull=False)
        places = {
            (attempt.host, attempt_path(attempt.host.root, attempt.stage_id, 0)) for attempt in attempts if attempt.host
        }
        audit.record("pipeline.delete", user, pipeline, name=pipeline.name)
        # Deleting takes the key from the object.
        live.push_on_commit("pipelines", pipeline=str(pipeline.pk))
        pipeline.delete()
        Stream.objects.filter(pk__in=stages).delete()
    for host, path in places:
        try:
            for_host(host).remove_tree(path.removesuffix("/attempt-0"))
        except TransportError as error:
            logger.warning("%s stays: %s", path, error)
