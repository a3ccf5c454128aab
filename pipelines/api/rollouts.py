"""What a model answered while it was trained: the steps that there are, and the samples of one."""

import math
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import rollout_selectors as selectors
from monitoring.models import RolloutFile
from monitoring.readers import rollouts as reader
from monitoring.store.lines import MAX_STEP
from pipelines.models import Job
from pipelines.selectors import job_for
from pipelines.services.rollouts import open_step
from platform_site.common.api.filters import refuse_unknown
from platform_site.common.api.pagination import DEFAULT_LIMIT, MAX_LIMIT, whole_number
from platform_site.common.api.views import ApiListView, ApiView
from platform_site.common.errors import BadRequest, NotFound

MOST_BYTES: Final = 8 << 20
"""Of the samples of one page: with long answers it has fewer than `limit`, and `next` goes on."""

_ATTEMPT: Final = OpenApiParameter(
    "attempt", OpenApiTypes.INT, description="All steps of one attempt, instead of what the attempts make up together."
)
_NUMBER: Final = {"oneOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
_COUNT: Final = {"type": "integer", "minimum": 0}
_SAMPLE: Final = {
    "type": "object",
    "properties": {
        "group": {**_COUNT, "description": "Which prompt of the step; answers to one prompt share it."},
        "sample": {**_COUNT, "description": "Which answer to that prompt."},
        "row": {"type": "integer", "nullable": True, "description": "Of the dataset, from 0."},
        "prompt": {"type": "array", "items": {"type": "object"}, "description": "Messages with role and content."},
        "response": {"type": "string"},
        "tokens": _COUNT,
        "answer": {"description": "What the dataset's row says is right."},
        "reward": _NUMBER,
        "parts": {"type": "object", "additionalProperties": _NUMBER, "description": "What the reward is made of."},
    },
}
_SAMPLES: Final = {
    "type": "object",
    "properties": {
        "count": _COUNT,
        "next": {"type": "string", "format": "uri", "nullable": True},
        "previous": {"type": "string", "format": "uri", "nullable": True},
        "results": {"type": "array", "items": _SAMPLE},
        "step": _COUNT,
        "attempt": {"type": "integer"},
        "attempts": {"type": "array", "items": {"type": "integer"}, "description": "That logged this step."},
        "cut": {"type": "boolean", "description": "The file is longer than what is read of it."},
        "bad_lines": _COUNT,
        "bad": {
            "type": "array",
            "items": {"type": "object", "properties": {"line": _COUNT, "reason": {"type": "string"}}},
        },
    },
    "required": ["count", "next", "previous", "results", "step", "attempt", "attempts", "cut", "bad_lines", "bad"],
}


class RolloutShape(serializers.ModelSerializer[RolloutFile]):
    """The figures are null while the file has not been read."""

    attempt = serializers.IntegerField(source="segment.attempt")
    problem = serializers.SerializerMethodField(help_text="Why the file could not be read.")

    class Meta:
        model = RolloutFile
        fields: ClassVar = [
            "step",
            "attempt",
            "samples",
            "groups",
            "reward_min",
            "reward_mean",
            "reward_max",
            "size",
            "bad_lines",
            "cut",
            "problem",
        ]

    def get_problem(self, file: RolloutFile) -> str | None:
        return file.problem or None


class Rollouts(ApiListView):
    serializer_class = RolloutShape
    queryset = RolloutFile.objects.none()
    ordering_fields: ClassVar = ["step", "reward_mean"]
    extra_parameters = frozenset({"attempt", "start_step", "end_step"})

    @extend_schema(
        parameters=[
            _ATTEMPT,
            OpenApiParameter("start_step", OpenApiTypes.INT, description="First step, included."),
            OpenApiParameter("end_step", OpenApiTypes.INT, description="Last step, included."),
        ]
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The steps of a run whose answers are kept, with the figures of each."""
        return self.list(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[RolloutFile]:
        found = _files(self.request, job_for(self.request.user, self.kwargs["job_id"]))
        start, end = (_step(self.request, name) for name in ("start_step", "end_step"))
        if start is not None:
            found = found.filter(step__gte=start)
        return found if end is None else found.filter(step__lte=end)


class RolloutSamples(ApiView):
    @extend_schema(
        operation_id="jobs_rollouts_samples",
        parameters=[
            _ATTEMPT,
            OpenApiParameter("min_reward", OpenApiTypes.NUMBER, description="Included."),
            OpenApiParameter("max_reward", OpenApiTypes.NUMBER, description="Included."),
            OpenApiParameter("group", OpenApiTypes.INT, description="The answers to one prompt."),
            OpenApiParameter("ordering", OpenApiTypes.STR, enum=list(reader.ORDERS)),
            OpenApiParameter("limit", OpenApiTypes.INT, description="Samples of one page."),
            OpenApiParameter("offset", OpenApiTypes.INT, description="Samples before it."),
        ],
        responses={200: _SAMPLES},
    )
    def get(self, request: Request, job_id: UUID, step: int) -> Response:
        """What was answered at a step, read from the file."""
        known = {"attempt", "min_reward", "max_reward", "group", "ordering", "limit", "offset", "format"}
        refuse_unknown(request.query_params, known)
        low, high = (_reward(request, name) for name in ("min_reward", "max_reward"))
        group = whole_number(request, "group", 0) if request.query_params.get("group") else None
        order = _order(request)
        limit = min(whole_number(request, "limit", DEFAULT_LIMIT, low=1), MAX_LIMIT)
        offset = whole_number(request, "offset", 0)
        job = job_for(request.user, job_id)
        file = _files(request, job).filter(step=step).first() if step <= MAX_STEP else None
        if file is None:
            raise NotFound(_("No answers of step %(step)s are kept.") % {"step": step})
        opened = open_step(job, file)
        found = reader.between(opened.survey.places, low, high)
        if group is not None:
            found = [place for place in found if place.group == group]
        found.sort(key=reader.ORDERS[order])
        page = _fitting(found[offset : offset + limit])
        following = offset + len(page)
        return Response(
            {
                "count": len(found),
                "next": _at(request, following) if following < len(found) else None,
                "previous": _at(request, max(0, offset - limit)) if offset else None,
                "results": [_shape(sample) for sample in opened.samples(page)],
                "step": file.step,
                "attempt": file.segment.attempt,
                "attempts": selectors.attempts_at(job.stream_id, file.step),
                "cut": opened.survey.cut,
                "bad_lines": opened.survey.bad_lines,
                "bad": [bad._asdict() for bad in opened.survey.bad],
            }
        )


def _files(request: Request, job: Job) -> QuerySet[RolloutFile]:
    segments = list(job.stream.segments.all())
    attempt = whole_number(request, "attempt", 0, low=1) if request.query_params.get("attempt") else None
    if attempt is not None and attempt not in {segment.attempt for segment in segments}:
        problem = _("This run has no attempt %(number)s.") % {"number": attempt}
        raise BadRequest(f"attempt: {problem}", {"attempt": problem})
    return selectors.rollouts(segments, attempt)


def _step(request: Request, name: str) -> int | None:
    return whole_number(request, name, 0, high=MAX_STEP) if request.query_params.get(name) else None


def _reward(request: Request, name: str) -> float | None:
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        problem = _("Give a number.")
        raise BadRequest(f"{name}: {problem}", {name: problem})
    return value


def _order(request: Request) -> str:
    order = request.query_params.get("ordering") or "group"
    if order not in reader.ORDERS:
        problem = _("One of: %(known)s") % {"known": ", ".join(reader.ORDERS)}
        raise BadRequest(f"ordering: {problem}", {"ordering": problem})
    return order


def _fitting(places: list[reader.Place]) -> list[reader.Place]:
    """The first of them, at least one, that together are not too long."""
    total = 0
    for count, place in enumerate(places):
        total += place.length
        if count and total > MOST_BYTES:
            return places[:count]
    return places


def _at(request: Request, offset: int) -> str:
    query = request.query_params.copy()
    query["offset"] = str(offset)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def _shape(sample: Any) -> dict[str, Any]:
    return {name: value for name, value in sample.to_json().items() if name in _SAMPLE["properties"]}
