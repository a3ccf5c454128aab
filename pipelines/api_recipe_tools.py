"""REST for what helps to make recipes: a command of verl read as one."""

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from platform_site.common.access import may
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiView
from platform_site.common.roles import Role

from .api_recipes import CHECKED, checked
from .services.recipe_import import read_command
from .services.recipes import told


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


urlpatterns = [
    path("recipes/import/", ImportRecipe.as_view(), name="api-recipe-import"),
]
