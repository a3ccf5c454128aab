"""Nothing, with a result: for measuring what a stage costs, and for joining branches."""

from typing import Any, ClassVar

from django.utils.translation import gettext as _

from pipelines.models import Stage
from platform_site.common.models import User
from platform_site.common.queues import DEFAULT

from .base import InlineKind, Verdict


class Noop(InlineKind):
    name: ClassVar[str] = "noop"
    queue: ClassVar[str] = DEFAULT
    example: ClassVar[str] = "result.rows = 12"
    instant: ClassVar[bool] = True

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        return {name: _("A no-op takes `result` alone.") for name in params if name != "result"}

    def run(self, stage: Stage, params: dict[str, Any]) -> Verdict:
        result = params.get("result", {})
        return Verdict(True, result=result if isinstance(result, dict) else {"value": result})
