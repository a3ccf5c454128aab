"""REST for what helps to make recipes: a command of verl read as one, and what worked before."""

from typing import Any

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from platform_site.common.access import may
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiView
from platform_site.common.roles import Role

from .api_recipes import CHECKED, checked
from .models import Recipe
from .services.recipe_import import read_command
from .services.recipes import told
from .services.recommend import Worked, what_worked


class ImportSerializer(StrictSerializer):
    text = serializers.CharField(
        trim_whitespace=False, help_text="A shell script, or the command alone. Nothing of it is run."
    )


IMPORTED = inline_serializer(
    "RecipeImported",
    {
        "recipe": inline_serializer(
            "RecipeOfCommand",
            {
                "name": serializers.CharField(help_text="What the command calls its run; may be empty."),
                "algorithm": serializers.CharField(),
                "trainer": serializers.CharField(),
                "base_model": serializers.CharField(help_text="Empty where the text does not tell it."),
                "params": serializers.DictField(),
            },
        ),
        "left_out": inline_serializer(
            "LeftOut",
            {
                "key": serializers.CharField(),
                "value": serializers.CharField(help_text="As it is written."),
                "line": serializers.IntegerField(),
                "reason": serializers.CharField(),
            },
            many=True,
        ),
        "problems": inline_serializer(
            "ImportProblem",
            {
                "line": serializers.IntegerField(),
                "key": serializers.CharField(allow_blank=True),
                "message": serializers.CharField(),
            },
            many=True,
        ),
        "validation": CHECKED,
    },
)


class ImportRecipe(ApiView):
    """A command line or script of verl as a recipe. Keeps nothing and runs nothing."""

    required_role = Role.VIEWER
    naturally_idempotent = True

    @extend_schema(request=ImportSerializer, responses={200: IMPORTED})
    def post(self, request: Request) -> Response:
        asked = ImportSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        found = read_command(signed_in(request), asked.validated_data["text"], admin=may(request, Role.ADMIN))
        draft = found.draft
        return Response(
            {
                "recipe": {
                    "name": draft.name,
                    "algorithm": draft.algorithm,
                    "trainer": draft.trainer,
                    "base_model": draft.base_model,
                    "params": draft.params,
                },
                "left_out": [
                    {"key": one.key, "value": one.value, "line": one.line, "reason": _(one.template)}
                    for one in found.imported.left_out
                ],
                "problems": [
                    {"line": one.line, "key": one.problem.key, "message": told(one.problem)} for one in found.problems
                ],
                "validation": checked(found.checked),
            }
        )


RECOMMENDED = inline_serializer(
    "Recommendations",
    {
        "algorithm": serializers.CharField(),
        "base_model": serializers.CharField(),
        "results": inline_serializer(
            "Recommendation",
            {
                "rank": serializers.IntegerField(help_text="Within its dataset: other data is another ranking."),
                "job": serializers.UUIDField(),
                "name": serializers.CharField(),
                "recipe": serializers.CharField(),
                "recipe_revision": serializers.IntegerField(),
                "base_model": serializers.CharField(),
                "dataset": serializers.CharField(allow_null=True, help_text="slug@version"),
                "metric": inline_serializer(
                    "RankedBy",
                    {
                        "name": serializers.CharField(),
                        "value": serializers.FloatField(allow_null=True),
                        "better": serializers.ChoiceField(choices=["higher", "lower"]),
                    },
                    allow_null=True,
                ),
                "health_score": serializers.IntegerField(allow_null=True),
                "has_anomaly": serializers.BooleanField(),
                "final_metrics": serializers.DictField(),
                "final_step": serializers.IntegerField(allow_null=True),
                "params": serializers.DictField(help_text="What differs from the trainer's own defaults."),
                "runs": serializers.IntegerField(help_text="Completed runs with the same settings and data."),
                "created_at": serializers.DateTimeField(),
            },
            many=True,
        ),
    },
)


class Recommendations(ApiView):
    """Completed runs of an algorithm and a base model, the best first, with the settings that made them."""

    required_role = Role.VIEWER

    @extend_schema(
        parameters=[
            OpenApiParameter("algorithm", str, required=True, enum=Recipe.Algorithm.values),
            OpenApiParameter("base_model", str, description="Without it, runs of any."),
        ],
        responses={200: RECOMMENDED},
    )
    def get(self, request: Request) -> Response:
        algorithm = request.query_params.get("algorithm", "").lower()
        base_model = request.query_params.get("base_model", "")
        found = what_worked(signed_in(request), algorithm, base_model)
        return Response(
            {"algorithm": algorithm, "base_model": base_model, "results": [_recommended(one) for one in found]}
        )


def _recommended(one: Worked) -> dict[str, Any]:
    job, version = one.job, one.job.dataset_version
    ranked_by = {"name": one.metric, "value": one.value, "better": "higher" if one.higher_is_better else "lower"}
    return {
        "rank": one.rank,
        "job": job.pk,
        "name": job.name,
        "recipe": job.recipe_revision.recipe.slug,
        "recipe_revision": job.recipe_revision.number,
        "base_model": job.recipe_revision.base_model,
        "dataset": f"{version.dataset.slug}@{version.number}" if version is not None else None,
        "metric": ranked_by if one.metric is not None else None,
        "health_score": one.health,
        "has_anomaly": job.stream.has_anomaly,
        "final_metrics": job.final_metrics,
        "final_step": job.final_step,
        "params": one.params,
        "runs": one.runs,
        "created_at": job.created_at,
    }


urlpatterns = [
    path("recipes/recommendations/", Recommendations.as_view(), name="api-recipe-recommendations"),
    path("recipes/import/", ImportRecipe.as_view(), name="api-recipe-import"),
]
