"""Addresses for tests of what all REST views share: each shows one behaviour."""

from typing import Any, ClassVar

import django_filters
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import OperationalError
from django.http import Http404
from django.urls import include, path
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from pipelines.states import StageStatus
from platform_site.common import errors
from platform_site.common.api.filters import StatusFilter, StrictFilterSet
from platform_site.common.api.pagination import Page
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.throttling import CallerThrottle
from platform_site.common.api.views import ApiListView, ApiView
from platform_site.common.models import Project

SECRET = "sekrit-internal-text"

RAISED: dict[str, Exception] = {
    "bad_request": errors.BadRequest("That is malformed.", {"a.b": "wrong"}),
    "forbidden": errors.Forbidden("Not you."),
    "not_found": errors.NotFound("No such recipe."),
    "conflict": errors.Conflict("It is running.", code="stale_revision", details={"revision": 7}),
    "too_large": errors.TooLarge("Too big."),
    "invalid": errors.Invalid("It cannot be.", {"stages.1.name": ["taken", "ugly"]}),
    "unavailable": errors.Unavailable("Redis is away."),
    "http404": Http404(SECRET),
    "denied": PermissionDenied(),
    "django_invalid": DjangoValidationError({"name": ["Too short."]}),
    "database": OperationalError(SECRET),
    "too_big": RequestDataTooBig(SECRET),
    "suspicious": SuspiciousOperation(SECRET),
    "unsupported": exceptions.UnsupportedMediaType("text/plain"),
    "throttled": exceptions.Throttled(wait=3),
    "crash": RuntimeError(SECRET),
}


class Raise(ApiView):
    def get(self, request: Request, name: str) -> Response:
        raise RAISED[name]


class Inner(StrictSerializer):
    name = serializers.CharField(max_length=8)
    start = serializers.BooleanField(required=False)


class Outer(StrictSerializer):
    name = serializers.CharField()
    stages = Inner(many=True)
    options = Inner(required=False)
    made = serializers.CharField(read_only=True)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["name"] == "whole":
            raise serializers.ValidationError("The whole is wrong.")
        return data


class Strict(ApiView):
    def post(self, request: Request) -> Response:
        given = Outer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(given.validated_data)


class Echo(ApiView):
    answer: ClassVar[dict[str, Any]] = {}

    def get(self, request: Request) -> Response:
        return Response(self.answer)

    def post(self, request: Request) -> Response:
        return Response(request.data)


class ProjectSerializer(serializers.ModelSerializer):
    class Meta:
        model = Project
        fields = ("slug", "name", "created_at")


class ProjectFilter(StrictFilterSet):
    status = StatusFilter(field_name="name", choices=StageStatus)
    since = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")


class Projects(ApiListView):
    """POST makes a project: the effect that idempotency is tested with."""

    serializer_class = ProjectSerializer
    queryset = Project.objects.all()
    filterset_class = ProjectFilter
    search_fields = ("slug",)
    ordering_fields = ("slug",)

    def post(self, request: Request, **kwargs: Any) -> Response:
        count = Project.objects.count()
        made = Project.objects.create(slug=f"p{count}", name=request.data.get("name", ""))
        if made.name == "crash":
            raise RuntimeError("crashed after the effect")
        if made.name == "refuse":
            raise errors.Conflict("Refused after the effect.")
        if made.name == "answer":
            return Response({"why": "an error that was returned"}, status=409)
        return Response({"slug": made.slug, "loss": float("nan")}, status=201)


class Look(ApiView):
    """A post that reaches outside and may be repeated."""

    naturally_idempotent = True
    looked = 0

    def post(self, request: Request) -> Response:
        Look.looked += 1
        return Response({"looked": Look.looked})


class OneAtATime(CallerThrottle):
    most = 2
    window_s = 60.0


class Throttled(ApiView):
    throttle_classes = (OneAtATime,)

    def get(self, request: Request) -> Response:
        return Response({})


urlpatterns = [
    path("api/v1/raise/<slug:name>/", Raise.as_view()),
    path("api/v1/strict/", Strict.as_view()),
    path("api/v1/echo/", Echo.as_view()),
    path("api/v1/things/", Projects.as_view(pagination_class=Page)),
    path("api/v1/things/<slug:which>/copy/", Projects.as_view()),
    path("api/v1/look/", Look.as_view()),
    path("api/v1/throttled/", Throttled.as_view()),
    path("", include("platform_site.urls")),
]
