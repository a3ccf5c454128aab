"""The machine of a run over HTTP."""

from typing import Final
from uuid import UUID

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import selectors, system_selectors
from platform_site.common.api.filters import refuse_unknown
from platform_site.common.api.pagination import whole_number
from platform_site.common.api.views import ApiView
from platform_site.common.errors import NotFound

_SAMPLES: Final = {
    "type": "array",
    "items": {"type": "array", "items": {}},
    "description": "[time, {name: value}]: seconds since the epoch by the host's clock, and what was measured.",
}
_SYSTEM: Final = {
    "type": "object",
    "properties": {
        "job": {"type": "string", "format": "uuid"},
        "attempt": {"type": "integer", "nullable": True},
        "width_s": {"type": "number", "nullable": True, "description": "Seconds that a sample stands for."},
        "samples": _SAMPLES,
        "disk_full_in_s": {
            "type": "number",
            "nullable": True,
            "description": "From the last sample on; null while the run's volume does not fill up.",
        },
    },
    "required": ["job", "attempt", "width_s", "samples", "disk_full_in_s"],
}


class System(ApiView):
    @extend_schema(
        operation_id="monitoring_system",
        parameters=[
            OpenApiParameter(
                "attempt", OpenApiTypes.INT, OpenApiParameter.QUERY, description="Without: the latest with samples."
            )
        ],
        responses={200: _SYSTEM},
    )
    def get(self, request: Request, job: UUID) -> Response:
        refuse_unknown(request.query_params, {"attempt", "format"})
        asked = request.query_params.get("attempt")
        attempt = whole_number(request, "attempt", 1, low=1) if asked else None
        if not selectors.streams_for(request.user).filter(pk=job).exists():
            raise NotFound(_("There is no such run."))
        found = system_selectors.machine(job, attempt)
        return Response(
            {
                "job": str(job),
                "attempt": found.attempt if found else None,
                "width_s": found.width_s if found else None,
                "samples": found.samples if found else [],
                "disk_full_in_s": found.full_in_s if found else None,
            }
        )


urlpatterns = [path("monitoring/<uuid:job>/system/", System.as_view(), name="monitoring-system")]
