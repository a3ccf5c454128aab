"""Projects and the audit log."""

from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from django.http import HttpRequest
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from .. import selectors
from ..models import AuditEvent, Project
from ..roles import Role
from . import errors, renderers
from .filters import StrictFilterSet
from .views import ApiListView, ApiView


class ProjectSerializer(serializers.ModelSerializer[Project]):
    class Meta:
        model = Project
        fields = ("slug", "name", "created_at")


class ProjectList(ApiListView):
    """The projects of the platform."""

    serializer_class = ProjectSerializer
    queryset = Project.objects.none()
    search_fields: ClassVar = ["slug", "name"]
    ordering_fields: ClassVar = ["slug", "name", "created_at"]

    def get_queryset(self) -> QuerySet[Project]:
        return selectors.projects_for(self.request.user)


class AuditSerializer(serializers.ModelSerializer[AuditEvent]):
    actor = serializers.CharField(source="actor_name", help_text="User name, or the part that acted.")
    details = serializers.DictField()

    class Meta:
        model = AuditEvent
        fields = ("id", "at", "actor", "action", "object_type", "object_id", "address", "details")


class AuditFilter(StrictFilterSet):
    actor = django_filters.CharFilter(field_name="actor_name")
    action = django_filters.CharFilter()
    object_type = django_filters.CharFilter()
    object_id = django_filters.CharFilter()
    since = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt")


class AuditList(ApiListView):
    """Who did what, newest first."""

    required_role = Role.ADMIN
    serializer_class = AuditSerializer
    queryset = AuditEvent.objects.none()
    filterset_class = AuditFilter
    search_fields: ClassVar = ["actor_name", "action", "object_id"]
    ordering_fields: ClassVar = ["id", "at", "actor_name", "action"]

    def get_queryset(self) -> QuerySet[AuditEvent]:
        return selectors.audit_for(self.request.user)


class SchemaView(SpectacularAPIView):
    """This description, as JSON, or as YAML where the Accept header asks for it."""

    renderer_classes = [renderers.Json, OpenApiJsonRenderer, OpenApiYamlRenderer]


class Unknown(ApiView):
    """Every other address: strangers learn no more than 401, the others 404."""

    schema = None
    required_role = Role.VIEWER

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.http_method_not_allowed = self.not_found  # type: ignore[method-assign]  # whatever the method

    def not_found(self, request: Request | HttpRequest, *args: Any, **kwargs: Any) -> Response:
        return Response(errors.body(404, errors.missing()), status=404)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        return self.not_found(request)
