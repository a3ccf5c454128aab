"""Runs: start, list, look, cancel, run again."""

from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from pipelines.api_recipes import COMPARED, compared
from pipelines.models import Job
from pipelines.selectors import job_for, jobs_for
from pipelines.services import compare
from pipelines.services.cancel import cancel_stage
from pipelines.services.judging import judge
from pipelines.services.observe import sync_now
from pipelines.services.submit import rerun_job, submit_job
from pipelines.states import StageStatus
from platform_site.common.api.filters import StatusFilter, StrictFilterSet
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiDetailView, ApiListView, ApiView
from platform_site.common.errors import Invalid
from platform_site.common.roles import Role

from .shapes import JobShape, SyncShape


class JobFilter(StrictFilterSet):
    status = StatusFilter(field_name="stage__status", choices=StageStatus)
    recipe = django_filters.CharFilter(field_name="recipe_revision__recipe__slug")


class FromCheckpoint(StrictSerializer):
    job = serializers.UUIDField(help_text="A run that has ended.")
    step = serializers.IntegerField(min_value=0, help_text="The step of one of its checkpoints.")


class NewJob(StrictSerializer):
    recipe = serializers.CharField(max_length=80, help_text="A recipe's slug, or slug@revision.")
    dataset = serializers.CharField(max_length=80, required=False, allow_null=True, help_text="slug or slug@version.")
    host = serializers.CharField(max_length=63, required=False, allow_null=True)
    overrides = serializers.DictField(
        child=serializers.JSONField(allow_null=True), required=False, help_text="Dotted key of the trainer -> value."
    )
    name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    from_checkpoint = FromCheckpoint(required=False, allow_null=True, help_text="Where the run begins.")


class Rerun(StrictSerializer):
    overrides = serializers.DictField(
        child=serializers.JSONField(allow_null=True),
        required=False,
        help_text="On top of the run's own; null drops one.",
    )
    from_checkpoint = FromCheckpoint(required=False, allow_null=True, help_text="Where the run begins.")


class Jobs(ApiListView):
    serializer_class = JobShape
    filterset_class = JobFilter
    search_fields = ["name", "recipe_revision__recipe__slug"]
    ordering_fields = ["created_at", "name"]
    queryset = Job.objects.none()

    def get_queryset(self) -> QuerySet[Job]:
        return jobs_for(self.request.user)

    @extend_schema(request=NewJob, responses={201: JobShape})
    def post(self, request: Request) -> Response:
        """Run a recipe: a pipeline of one stage."""
        wanted = NewJob(data=request.data)
        wanted.is_valid(raise_exception=True)
        job = submit_job(user=request.user, **wanted.validated_data)  # type: ignore[arg-type]  # permission: signed in
        return Response(JobShape(job_for(request.user, job.id)).data, status=status.HTTP_201_CREATED)


class JobDetail(ApiDetailView):
    serializer_class = JobShape

    def get(self, request: Request, job_id: UUID) -> Response:
        return Response(JobShape(job_for(request.user, job_id)).data)


class JobDiff(ApiView):
    required_role = Role.VIEWER

    @extend_schema(
        parameters=[OpenApiParameter("left", UUID, required=True), OpenApiParameter("right", UUID, required=True)],
        responses={200: COMPARED},
    )
    def get(self, request: Request) -> Response:
        """Two runs side by side: what each was asked for, and their final metrics."""
        sides = {name: request.query_params.get(name, "") for name in ("left", "right")}
        missing = {name: _("missing") for name, value in sides.items() if not value}
        if missing:
            raise Invalid(_("Name a run for each side: left and right."), missing)
        user = signed_in(request)
        left, right = (compare.named_job(user, value) for value in sides.values())
        return Response(compared(compare.jobs(left, right)))


class JobCancel(ApiView):
    @extend_schema(request=None, responses={202: JobShape})
    def post(self, request: Request, job_id: UUID) -> Response:
        job = job_for(request.user, job_id)
        cancel_stage(job.stage_id, user=signed_in(request))
        return Response(JobShape(job_for(request.user, job_id)).data, status=status.HTTP_202_ACCEPTED)


class JobRerun(ApiView):
    @extend_schema(request=Rerun, responses={201: JobShape})
    def post(self, request: Request, job_id: UUID) -> Response:
        wanted = Rerun(data=request.data)
        wanted.is_valid(raise_exception=True)
        job = rerun_job(user=signed_in(request), job=job_for(request.user, job_id), **wanted.validated_data)
        return Response(JobShape(job_for(request.user, job.id)).data, status=status.HTTP_201_CREATED)


class Judgement(StrictSerializer):
    judged = serializers.ChoiceField(
        choices=Job.Judged.choices, allow_blank=True, help_text="Empty: by how the run ended, as before."
    )


class JobJudge(ApiView):
    naturally_idempotent = True

    @extend_schema(request=Judgement, responses=JobShape)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Say how a run that has ended went: back-tests and learnt thresholds go by it."""
        wanted = Judgement(data=request.data)
        wanted.is_valid(raise_exception=True)
        judge(job_for(request.user, job_id), wanted.validated_data["judged"], signed_in(request))
        return Response(JobShape(job_for(request.user, job_id)).data)


class MetricsSync(ApiView):
    # Reads files, maybe over a network, and never counts a line twice.
    naturally_idempotent = True

    @extend_schema(request=None, responses=SyncShape)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Read what is new of the run's metrics now."""
        found = sync_now(job_for(request.user, job_id).stage_id)
        return Response(
            {
                "new_steps": found.new_steps,
                "old_offset": found.old_offset,
                "new_offset": found.new_offset,
                "bad_lines": found.bad_lines,
            }
        )
