"""A stage's parameters: what is wrong with them, and what they are with the results of earlier stages filled in."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from pipelines.kinds import kind_of
from pipelines.models import Stage
from pipelines.services import find
from pipelines.templating import LookupFailed, malformed, references, resolve
from platform_site.common.errors import Invalid, PlatformError
from platform_site.common.models import User


def param_problems(user: User, task: str, params: dict[str, Any], above: Mapping[str, str] | None) -> dict[str, str]:
    """What keeps a stage of the kind `task` from having `params`, by `params.NAME`. Keeps nothing.

    `above` has all that the stage needs, name -> task; None while nobody can tell.
    """
    found: dict[str, str] = {}
    for reference in references(params):
        if above is not None and reference.stage not in above:
            found[f"params.{reference.where}"] = _("Stage %(name)s is not one that this stage depends on.") % {
                "name": reference.stage
            }
    for where in malformed(params):
        found[f"params.{where}"] = _("Only {{ stages.NAME.result.KEY }} can stand in double braces.")
    try:
        find.host(user, params.get("host"))
        kind = kind_of(task)
        wrong = kind.problems(params, user)
        if above is not None:
            wrong |= kind.misplaced(params, above)
    except PlatformError as error:
        wrong = {name: " ".join(told) for name, told in error.fields.items()} or {"": error.message}
    return found | {f"params.{name}".rstrip("."): told for name, told in wrong.items()}


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
