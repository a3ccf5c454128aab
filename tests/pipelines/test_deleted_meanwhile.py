"""Two people act on one thing, and one of them deletes it: the other is told so."""

from collections.abc import Callable

import pytest

from pipelines.models import Pipeline
from pipelines.services.control import retry_pipeline, retry_stage, start_pipeline
from pipelines.services.delete import delete_pipeline
from pipelines.states import PipelineStatus, StageStatus
from platform_site.common.errors import NotFound

from . import builders

pytestmark = pytest.mark.django_db

ACTIONS: list[Callable[[Pipeline], None]] = [
    lambda pipeline: start_pipeline(pipeline.pk, user=builders.person()),
    lambda pipeline: retry_pipeline(pipeline.pk, user=builders.person()),
    lambda pipeline: retry_stage(pipeline.stages.all()[0], user=builders.person()),
    lambda pipeline: delete_pipeline(pipeline, user=builders.person()),
]


@pytest.mark.parametrize("action", ACTIONS, ids=["start", "retry", "retry a stage", "delete"])
def test_acting_on_a_pipeline_that_was_just_deleted_says_that_it_is_gone(action: Callable[[Pipeline], None]) -> None:
    pipeline = builders.pipeline(PipelineStatus.FAILED)
    builders.stage(StageStatus.FAILED, of=pipeline)
    seen = Pipeline.objects.prefetch_related("stages").get(pk=pipeline.pk)
    len(seen.stages.all())
    delete_pipeline(Pipeline.objects.get(pk=pipeline.pk), user=builders.person())

    with pytest.raises(NotFound):
        action(seen)
