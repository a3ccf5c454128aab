"""A stage's parameters with the results of the stages before it filled in."""

from typing import Any

from pipelines.models import Stage
from pipelines.templating import LookupFailed, references, resolve
from platform_site.common.errors import Invalid


def params_of(stage: Stage) -> dict[str, Any]:
    """Raises Invalid when a reference leads nowhere: no retry can help that."""
    needed = {reference.stage for reference in references(stage.params)}
    if not needed:
        return dict(stage.params)
    found = Stage.objects.filter(pipeline_id=stage.pipeline_id, name__in=needed).values_list("name", "result")
    try:
        return resolve(stage.params, {name: result or {} for name, result in found})
    except LookupFailed as error:
        raise Invalid(str(error)) from error
