"""Pipelines and their stages."""

from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from pipelines.models import Pipeline, Transition
from pipelines.selectors import pipeline_for, pipelines_for, stage_for, stages_of, transitions_of
from pipelines.services.cancel import cancel_pipeline, cancel_stage
from pipelines.services.logs import MAX_BYTES, read_log
from pipelines.states import PipelineStatus
from platform_site.common.api.filters import StatusFilter, StrictFilterSet
from platform_site.common.api.pagination import whole_number
from platform_site.common.api.views import ApiDetailView, ApiListView, ApiView
from platform_site.common.errors import BadRequest

from .shapes import LogShape, PipelineShape, PipelineStatusShape, StageShape, TransitionShape


class PipelineFilter(StrictFilterSet):
    status = StatusFilter(choices=PipelineStatus)


class Pipelines(ApiListView):
    serializer_class = PipelineShape
    filterset_class = PipelineFilter
    search_fields = ["name", "description"]
    ordering_fields = ["created_at", "name", "priority", "status", "started_at", "completed_at"]
    queryset = Pipeline.objects.none()

    def get_queryset(self) -> QuerySet[Pipeline]:
        return pipelines_for(self.request.user)


class PipelineDetail(ApiDetailView):
    serializer_class = PipelineShape

    def get(self, request: Request, pipeline_id: UUID) -> Response:
        return Response(PipelineShape(pipeline_for(request.user, pipeline_id)).data)


class PipelineStatusView(ApiDetailView):
    serializer_class = PipelineStatusShape

    def get(self, request: Request, pipeline_id: UUID) -> Response:
        pipeline = pipeline_for(request.user, pipeline_id)
        stages = StageShape(stages_of(pipeline), many=True).data
        return Response({**PipelineShape(pipeline).data, "stages": stages})


class PipelineCancel(ApiView):
    @extend_schema(request=None, responses={202: PipelineShape})
    def post(self, request: Request, pipeline_id: UUID) -> Response:
        pipeline_for(request.user, pipeline_id)
        cancel_pipeline(pipeline_id, actor=request.user.get_username())
        return Response(PipelineShape(pipeline_for(request.user, pipeline_id)).data, status=status.HTTP_202_ACCEPTED)


class StageCancel(ApiView):
    @extend_schema(request=None, responses={202: StageShape})
    def post(self, request: Request, pipeline_id: UUID, name: str) -> Response:
        stage = stage_for(request.user, pipeline_id, name)
        cancel_stage(stage.id, actor=request.user.get_username())
        shown = stages_of(stage.pipeline).get(pk=stage.pk)
        return Response(StageShape(shown).data, status=status.HTTP_202_ACCEPTED)


class StageLog(ApiView):
    @extend_schema(
        responses=LogShape,
        parameters=[
            OpenApiParameter("offset", int, description="Bytes from the start; negative: from the end."),
            OpenApiParameter("limit", int, description="Bytes, at most 1 MiB."),
        ],
    )
    def get(self, request: Request, pipeline_id: UUID, name: str) -> Response:
        stage = stage_for(request.user, pipeline_id, name)
        piece = read_log(
            stage, offset=_offset(request), limit=whole_number(request, "limit", 64 << 10, low=1, high=MAX_BYTES)
        )
        return Response({"text": piece.text, "next_offset": piece.next_offset, "complete": piece.complete})


class PipelineTransitions(ApiListView):
    serializer_class = TransitionShape
    queryset = Transition.objects.none()

    def get_queryset(self) -> QuerySet[Transition]:
        return transitions_of(pipeline_for(self.request.user, self.kwargs["pipeline_id"]))


def _offset(request: Request) -> int:
    text = request.query_params.get("offset", "0")
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15:
        raise BadRequest(_("offset: Give a whole number of bytes."), {"offset": _("Give a whole number of bytes.")})
    return int(text)
