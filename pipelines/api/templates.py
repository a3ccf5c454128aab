"""Pipelines to start from."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from pipelines.pipeline_templates import TEMPLATES, PipelineTemplate
from platform_site.common.api.filters import LIST_PARAMETERS, refuse_unknown
from platform_site.common.api.views import ApiListView
from platform_site.common.errors import BadRequest

ORDERINGS = ("slug", "name")


class TemplateStage(serializers.Serializer[Any]):
    """What `POST pipelines/` takes as a stage."""

    name = serializers.CharField()
    task = serializers.CharField()
    params = serializers.DictField()
    depends_on: Any = serializers.ListField(child=serializers.CharField())


class TemplateShape(serializers.Serializer[PipelineTemplate]):
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    stages = TemplateStage(many=True)


class PipelineTemplates(ApiListView):
    """They come with the platform, and are no rows of a table."""

    serializer_class = TemplateShape
    filter_backends = ()

    @extend_schema(
        parameters=[
            OpenApiParameter("search", str, description="Words that stand in slug, name or description."),
            OpenApiParameter("ordering", str, enum=[*ORDERINGS, *(f"-{name}" for name in ORDERINGS)]),
        ]
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Pipelines to start from: the stages of each can be posted as they are."""
        refuse_unknown(request.query_params, LIST_PARAMETERS)
        words = request.query_params.get("search", "").lower().split()
        found = [
            one
            for one in TEMPLATES
            if all(word in f"{one.slug} {one.name} {one.description}".lower() for word in words)
        ]
        page = self.paginate_queryset(_ordered(found, request.query_params.get("ordering", "")))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


def _ordered(found: list[PipelineTemplate], ordering: str) -> list[PipelineTemplate]:
    name = ordering.removeprefix("-")
    if not ordering:
        return found
    if name not in ORDERINGS:
        raise BadRequest(f"ordering: {', '.join(ORDERINGS)}.", {"ordering": ", ".join(ORDERINGS)})
    return sorted(found, key=lambda one: str(getattr(one, name)), reverse=ordering.startswith("-"))
