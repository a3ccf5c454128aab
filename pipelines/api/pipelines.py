"""Pipelines and their stages."""

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from pipelines.models import Pipeline, Transition
from pipelines.selectors import pipeline_for, pipelines_for, stage_for, stages_of, transitions_of
from pipelines.services.cancel import cancel_pipeline, cancel_stage
from pipelines.services.control import pause_pipeline, resume_pipeline, retry_pipeline, retry_stage, start_pipeline
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.services.delete import delete_pipeline
from pipelines.services.logs import MAX_BYTES, read_log
from pipelines.states import PipelineStatus
from platform_site.common.api.filters import StatusFilter, StrictFilterSet
from platform_site.common.api.pagination import whole_number
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiDetailView, ApiListView, ApiView
from platform_site.common.errors import BadRequest

from .shapes import LogShape, PipelineShape, PipelineStatusShape, StageShape, TransitionShape


class PipelineFilter(StrictFilterSet):
    status = StatusFilter(choices=PipelineStatus)


class NewStage(StrictSerializer):
    name = serializers.CharField(max_length=63)
    task = serializers.CharField(max_length=64, help_text="The kind of stage.")
    params = serializers.DictField(
        child=serializers.JSONField(allow_null=True), required=False, help_text="May refer to stages.NAME.result.KEY."
    )
    depends_on = serializers.ListField(child=serializers.CharField(max_length=63), required=False, max_length=500)
    queue = serializers.CharField(max_length=32, required=False, allow_blank=True)
    timeout_s = serializers.IntegerField(min_value=1, max_value=10**7, required=False, allow_null=True)
    max_retries = serializers.IntegerField(min_value=0, max_value=100, required=False)


class NewPipeline(StrictSerializer):
    name = serializers.CharField(max_length=200)
    description = serializers.CharField(max_length=10_000, required=False, allow_blank=True)
    priority = serializers.IntegerField(min_value=1, max_value=10, required=False)
    max_retries = serializers.IntegerField(min_value=0, max_value=100, required=False)
    start = serializers.BooleanField(required=False, help_text="Start it at once.")
    stages = NewStage(many=True)


class RetryParams(StrictSerializer):
    params = serializers.DictField(
        child=serializers.JSONField(allow_null=True), required=False, help_text="In place of the stage's of that name."
    )


class Pipelines(ApiListView):
    serializer_class = PipelineShape
    filterset_class = PipelineFilter
    search_fields = ["name", "description"]
    ordering_fields = ["created_at", "name", "priority", "status", "started_at", "completed_at"]
    queryset = Pipeline.objects.none()

    def get_queryset(self) -> QuerySet[Pipeline]:
        return pipelines_for(self.request.user)

    @extend_schema(request=NewPipeline, responses={201: PipelineStatusShape})
    def post(self, request: Request) -> Response:
        """Make a pipeline: stages and what each depends on."""
        wanted = NewPipeline(data=request.data)
        wanted.is_valid(raise_exception=True)
        told = dict(wanted.validated_data)
        start = told.pop("start", False)
        stages = [
            StageSpec(**{**stage, "depends_on": tuple(stage.get("depends_on", ()))}) for stage in told.pop("stages")
        ]
        user = signed_in(request)
        pipeline = create_pipeline(user=user, spec=PipelineSpec(stages=stages, **told), start=start)
        return Response(_with_stages(request, pipeline.pk), status=status.HTTP_201_CREATED)


class PipelineDetail(ApiDetailView):
    serializer_class = PipelineShape

    def get(self, request: Request, pipeline_id: UUID) -> Response:
        return Response(PipelineShape(pipeline_for(request.user, pipeline_id)).data)

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, pipeline_id: UUID) -> Response:
        """Forget a pipeline that has ended, its runs and their files included."""
        delete_pipeline(pipeline_for(request.user, pipeline_id), user=signed_in(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PipelineStatusView(ApiDetailView):
    serializer_class = PipelineStatusShape

    def get(self, request: Request, pipeline_id: UUID) -> Response:
        return Response(_with_stages(request, pipeline_id))


class _Change(ApiView):
    """One action on a pipeline; the answer is the pipeline as it is then."""

    change: ClassVar[Callable[..., None]]

    @extend_schema(request=None, responses={202: PipelineShape})
    def post(self, request: Request, pipeline_id: UUID) -> Response:
        pipeline_for(request.user, pipeline_id)
        type(self).change(pipeline_id, user=signed_in(request))
        return Response(PipelineShape(pipeline_for(request.user, pipeline_id)).data, status=status.HTTP_202_ACCEPTED)


class PipelineStart(_Change):
    change = staticmethod(start_pipeline)


class PipelinePause(_Change):
    change = staticmethod(pause_pipeline)


class PipelineResume(_Change):
    change = staticmethod(resume_pipeline)


class PipelineRetry(_Change):
    change = staticmethod(retry_pipeline)


class PipelineCancel(_Change):
    change = staticmethod(cancel_pipeline)


class StageRetry(ApiView):
    @extend_schema(request=RetryParams, responses={202: StageShape})
    def post(self, request: Request, pipeline_id: UUID, name: str) -> Response:
        """Try a failed or cancelled stage again, and what was skipped because of it."""
        wanted = RetryParams(data=request.data)
        wanted.is_valid(raise_exception=True)
        stage = stage_for(request.user, pipeline_id, name)
        retry_stage(stage, user=signed_in(request), params=wanted.validated_data.get("params"))
        shown = stages_of(stage.pipeline).get(pk=stage.pk)
        return Response(StageShape(shown).data, status=status.HTTP_202_ACCEPTED)


class StageCancel(ApiView):
    @extend_schema(request=None, responses={202: StageShape})
    def post(self, request: Request, pipeline_id: UUID, name: str) -> Response:
        stage = stage_for(request.user, pipeline_id, name)
        cancel_stage(stage.id, user=signed_in(request))
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


def _with_stages(request: Request, pipeline_id: UUID) -> dict[str, Any]:
    pipeline = pipeline_for(request.user, pipeline_id)
    return {**PipelineShape(pipeline).data, "stages": StageShape(stages_of(pipeline), many=True).data}


def _offset(request: Request) -> int:
    text = request.query_params.get("offset", "0")
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15:
        raise BadRequest(_("offset: Give a whole number of bytes."), {"offset": _("Give a whole number of bytes.")})
    return int(text)
