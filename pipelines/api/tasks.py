"""What the workers do: numbers, one row an attempt."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from pipelines.models import Attempt
from pipelines.selectors import in_state, overview, task_for, tasks_for
from pipelines.services.cancel import cancel_stage
from pipelines.services.control import retry_stage
from pipelines.states import StageStatus
from platform_site.common.api.filters import StatusFilter, StrictFilterSet
from platform_site.common.api.people import signed_in
from platform_site.common.api.views import ApiDetailView, ApiListView, ApiView
from platform_site.common.errors import Conflict
from platform_site.common.queues import STAGE_QUEUES

from .shapes import TaskShape


class TaskFilter(StrictFilterSet):
    state = StatusFilter(choices=StageStatus, method="in_state")
    queue = django_filters.ChoiceFilter(field_name="stage__queue", choices=[(name, name) for name in STAGE_QUEUES])
    since = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    def in_state(self, attempts: QuerySet[Attempt], name: str, value: str) -> QuerySet[Attempt]:
        return attempts.filter(in_state(StageStatus(value)))


class WorkerShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    queues = serializers.ListField(child=serializers.CharField())
    busy = serializers.IntegerField()
    threads = serializers.IntegerField()
    last_seen_at = serializers.DateTimeField()


class QueueShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    priority = serializers.IntegerField()
    pending = serializers.IntegerField()
    running = serializers.IntegerField()
    capacity = serializers.IntegerField()


class OverviewShape(serializers.Serializer[Any]):
    running = serializers.IntegerField()
    pending = serializers.IntegerField()
    completed_today = serializers.IntegerField()
    failed_today = serializers.IntegerField()
    workers = WorkerShape(many=True)
    queues = QueueShape(many=True)


class TaskOverview(ApiView):
    @extend_schema(responses=OverviewShape)
    def get(self, request: Request) -> Response:
        found = overview(request.user)
        workers = WorkerShape(found.workers, many=True).data
        return Response({**asdict(found), "workers": workers})


class Tasks(ApiListView):
    serializer_class = TaskShape
    filterset_class = TaskFilter
    search_fields = ["stage__name", "stage__pipeline__name"]
    ordering_fields = ["created_at", "started_at", "completed_at"]
    queryset = Attempt.objects.none()

    def get_queryset(self) -> QuerySet[Attempt]:
        return tasks_for(self.request.user).order_by("-created_at")


class TaskDetail(ApiDetailView):
    serializer_class = TaskShape

    def get(self, request: Request, task_id: UUID) -> Response:
        return Response(TaskShape(task_for(request.user, task_id)).data)


class TaskCancel(ApiView):
    @extend_schema(request=None, responses={202: TaskShape})
    def post(self, request: Request, task_id: UUID) -> Response:
        task = task_for(request.user, task_id)
        if task.outcome:
            raise Conflict(_("The task has already ended: it is %(outcome)s.") % {"outcome": task.outcome})
        cancel_stage(task.stage_id, user=signed_in(request))
        return Response(TaskShape(task_for(request.user, task_id)).data, status=status.HTTP_202_ACCEPTED)


class TaskRetry(ApiView):
    @extend_schema(request=None, responses={202: TaskShape})
    def post(self, request: Request, task_id: UUID) -> Response:
        """Try the task's stage again; the answer is the new task."""
        task = task_for(request.user, task_id)
        retry_stage(task.stage, user=signed_in(request))
        again = tasks_for(request.user).filter(stage_id=task.stage_id).latest("number")
        return Response(TaskShape(again).data, status=status.HTTP_202_ACCEPTED)
