"""REST for recipes, below /api/v1/."""

from dataclasses import asdict
from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from platform_site.common.access import may
from platform_site.common.api.filters import StrictFilterSet
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiDetailView, ApiListView, ApiView
from platform_site.common.roles import Role

from . import recipe_selectors as selectors
from .models import Recipe, RecipeRevision
from .recipes.spec import Checked, Problem
from .services import compare
from .services import recipes as services


class RecipeSerializer(serializers.Serializer[Recipe]):
    """A recipe with the content of its newest revision."""

    slug = serializers.CharField()
    name = serializers.CharField()
    algorithm = serializers.ChoiceField(choices=Recipe.Algorithm.choices)
    trainer = serializers.ChoiceField(choices=Recipe.Trainer.choices)
    base_model = serializers.CharField()
    params = serializers.DictField(help_text="Dotted key of the trainer -> literal value.")
    dataset = serializers.CharField(allow_null=True, help_text="Trained on unless a run names another.")
    description = serializers.CharField()
    on_critical = serializers.ChoiceField(
        choices=Recipe.OnCritical.choices, help_text="What a critical finding does to a run."
    )
    on_stall = serializers.ChoiceField(
        choices=Recipe.OnStall.choices, help_text="What becomes of one that stands still."
    )
    is_template = serializers.BooleanField(help_text="Built in, and never changed.")
    derived_from = serializers.CharField(allow_null=True)
    revision = serializers.IntegerField()
    project = serializers.CharField()
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    revised_at = serializers.DateTimeField()

    def to_representation(self, recipe: Recipe) -> dict[str, Any]:
        newest = selectors.latest(recipe)
        return {
            "slug": recipe.slug,
            "name": recipe.name,
            "algorithm": recipe.algorithm,
            "trainer": recipe.trainer,
            "base_model": newest.base_model,
            "params": newest.params,
            "dataset": newest.dataset.slug if newest.dataset else None,
            "description": recipe.description,
            "on_critical": recipe.on_critical,
            "on_stall": recipe.on_stall,
            "is_template": recipe.is_template,
            "derived_from": recipe.derived_from.slug if recipe.derived_from else None,
            "revision": newest.number,
            "project": recipe.project.slug,
            "created_by": recipe.created_by.get_username() if recipe.created_by else None,
            "created_at": recipe.created_at,
            "revised_at": newest.created_at,
        }


class RevisionSerializer(serializers.ModelSerializer[RecipeRevision]):
    revision = serializers.IntegerField(source="number")
    params = serializers.DictField()
    dataset = serializers.CharField(source="dataset.slug", default=None, allow_null=True)
    created_by = serializers.CharField(source="created_by.username", default=None, allow_null=True)

    class Meta:
        model = RecipeRevision
        fields = ("revision", "base_model", "params", "dataset", "created_by", "created_at")


class ContentSerializer(StrictSerializer):
    """What may be written of a recipe."""

    name = serializers.CharField(max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, max_length=10_000)
    on_critical = serializers.ChoiceField(choices=Recipe.OnCritical.choices, required=False)
    on_stall = serializers.ChoiceField(choices=Recipe.OnStall.choices, required=False)
    base_model = serializers.CharField(max_length=500)
    params = serializers.DictField(child=serializers.JSONField(allow_null=True), required=False)
    dataset = serializers.CharField(required=False, allow_null=True, max_length=80)


class NewRecipeSerializer(ContentSerializer):
    slug = serializers.CharField(required=False, max_length=63)
    algorithm = serializers.ChoiceField(choices=Recipe.Algorithm.choices)
    trainer = serializers.ChoiceField(choices=Recipe.Trainer.choices, default=Recipe.Trainer.VERL)
    derived_from = serializers.CharField(required=False, allow_null=True, max_length=63)


class ChangedRecipeSerializer(ContentSerializer):
    revision = serializers.IntegerField(min_value=1, help_text="The revision that these changes were made from.")


class CheckedRecipeSerializer(NewRecipeSerializer):
    """A recipe to be checked, as it would be posted or as it was got."""

    name = serializers.CharField(required=False, max_length=200, default="recipe")
    is_template = serializers.BooleanField(required=False)
    revision = serializers.IntegerField(required=False)
    project = serializers.CharField(required=False)
    created_by = serializers.CharField(required=False, allow_null=True)
    created_at = serializers.DateTimeField(required=False)
    revised_at = serializers.DateTimeField(required=False)


class CompileSerializer(StrictSerializer):
    dataset = serializers.CharField(required=False, allow_null=True, max_length=80, help_text="slug or slug@number")
    host = serializers.CharField(required=False, allow_null=True, max_length=63)
    overrides = serializers.DictField(child=serializers.JSONField(allow_null=True), required=False)


PROBLEMS = inline_serializer(
    "RecipeProblem",
    {
        "key": serializers.CharField(),
        "message": serializers.CharField(),
        "suggestion": serializers.CharField(required=False),
    },
    many=True,
)
CHECKED = inline_serializer(
    "RecipeChecked", {"valid": serializers.BooleanField(), "errors": PROBLEMS, "warnings": PROBLEMS}
)
COMPILED = inline_serializer(
    "RecipeCompiled",
    {
        "argv": serializers.ListField(child=serializers.CharField()),
        "env": serializers.DictField(child=serializers.CharField()),
        "config": serializers.DictField(),
        "config_yaml": serializers.CharField(),
        "target_step": serializers.IntegerField(allow_null=True),
        "checkpoint_required": serializers.BooleanField(),
        "adjusted": serializers.DictField(help_text="Values the host cannot take: key -> {asked, used}."),
    },
)


DIFFERENCE = inline_serializer(
    "Difference",
    {
        "key": serializers.CharField(),
        "left": serializers.JSONField(allow_null=True),
        "right": serializers.JSONField(allow_null=True),
        "left_default": serializers.BooleanField(help_text="This side does not name the key."),
        "right_default": serializers.BooleanField(help_text="This side does not name the key."),
    },
    many=True,
)
DELTA = inline_serializer(
    "MetricDelta",
    {
        "name": serializers.CharField(),
        "left": serializers.JSONField(allow_null=True),
        "right": serializers.JSONField(allow_null=True),
        "delta": serializers.FloatField(allow_null=True, help_text="right minus left"),
    },
    many=True,
)
COMPARED = inline_serializer(
    "Compared",
    {"added": DIFFERENCE, "removed": DIFFERENCE, "changed": DIFFERENCE, "equal": DIFFERENCE, "metrics": DELTA},
)


def compared(found: compare.Compared) -> dict[str, Any]:
    """As it goes over the wire."""
    rows: dict[str, Any] = {
        sort: [
            {
                "key": row.key,
                "left": row.left,
                "right": row.right,
                "left_default": row.left_default,
                "right_default": row.right_default,
            }
            for row in found.of(sort)
        ]
        for sort in ("added", "removed", "changed", "equal")
    }
    return {**rows, "metrics": [asdict(metric) for metric in found.metrics]}


def checked(found: Checked) -> dict[str, Any]:
    """As it goes over the wire."""
    return {
        "valid": found.valid,
        "errors": [shown(problem) for problem in found.errors],
        "warnings": [shown(problem) for problem in found.warnings],
    }


def shown(problem: Problem) -> dict[str, str]:
    """As it goes over the wire."""
    told = {"key": problem.key, "message": services.told(problem)}
    return told if problem.suggestion is None else {**told, "suggestion": problem.suggestion}


class RecipeFilter(StrictFilterSet):
    algorithm = django_filters.ChoiceFilter(choices=Recipe.Algorithm.choices)
    trainer = django_filters.ChoiceFilter(choices=Recipe.Trainer.choices)
    is_template = django_filters.BooleanFilter()


class Recipes(ApiListView):
    """The recipes, and making one."""

    serializer_class = RecipeSerializer
    queryset = Recipe.objects.none()
    filterset_class = RecipeFilter
    search_fields: ClassVar = ["slug", "name", "description"]
    ordering_fields: ClassVar = ["slug", "name", "algorithm", "created_at"]

    def get_queryset(self) -> QuerySet[Recipe]:
        return selectors.recipes_for(self.request.user)

    @extend_schema(request=NewRecipeSerializer, responses={201: RecipeSerializer})
    def post(self, request: Request) -> Response:
        asked = NewRecipeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        recipe = services.create_recipe(
            user=signed_in(request), draft=_draft(asked.validated_data), admin=may(request, Role.ADMIN)
        )
        return Response(RecipeSerializer(selectors.recipe_for(request.user, recipe.slug)).data, status=201)


class RecipeDetail(ApiDetailView):
    """One recipe."""

    serializer_class = RecipeSerializer
    queryset = Recipe.objects.none()

    def get(self, request: Request, slug: str) -> Response:
        return Response(RecipeSerializer(selectors.recipe_for(request.user, slug)).data)

    @extend_schema(request=ChangedRecipeSerializer, responses={200: RecipeSerializer})
    def patch(self, request: Request, slug: str) -> Response:
        recipe = selectors.recipe_for(request.user, slug)
        asked = ChangedRecipeSerializer(data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        changes = dict(asked.validated_data)
        if "revision" not in changes:
            raise serializers.ValidationError({"revision": [serializers.Field.default_error_messages["required"]]})
        services.revise_recipe(
            user=signed_in(request),
            recipe=recipe,
            revision=changes.pop("revision"),
            changes=changes,
            admin=may(request, Role.ADMIN),
        )
        return Response(RecipeSerializer(selectors.recipe_for(request.user, slug)).data)

    def delete(self, request: Request, slug: str) -> Response:
        services.delete_recipe(user=signed_in(request), recipe=selectors.recipe_for(request.user, slug))
        return Response(status=204)


class Revisions(ApiListView):
    """The revisions of a recipe, newest first. They never change."""

    serializer_class = RevisionSerializer
    queryset = RecipeRevision.objects.none()
    ordering_fields: ClassVar = ["number", "created_at"]

    def get_queryset(self) -> QuerySet[RecipeRevision]:
        return selectors.revisions_of(selectors.recipe_for(self.request.user, self.kwargs["slug"]))


class Validate(ApiView):
    """Says everything that is wrong with a recipe. Keeps nothing."""

    required_role = Role.VIEWER
    naturally_idempotent = True

    @extend_schema(request=CheckedRecipeSerializer, responses={200: CHECKED})
    def post(self, request: Request) -> Response:
        asked = CheckedRecipeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        draft = _draft(asked.validated_data)
        found = services.check_draft(signed_in(request), draft, admin=may(request, Role.ADMIN))
        return Response(checked(found))


class Compile(ApiView):
    """What a run of the recipe would be started with. Starts nothing."""

    required_role = Role.VIEWER
    naturally_idempotent = True

    @extend_schema(request=CompileSerializer, responses={200: COMPILED})
    def post(self, request: Request, slug: str) -> Response:
        recipe = selectors.recipe_for(request.user, slug)
        asked = CompileSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        compiled = services.preview(
            user=signed_in(request), recipe=recipe, admin=may(request, Role.ADMIN), **asked.validated_data
        )
        return Response(
            {
                "argv": compiled.argv,
                "env": compiled.env,
                "config": compiled.config,
                "config_yaml": compiled.config_yaml,
                "target_step": compiled.target_step,
                "checkpoint_required": compiled.checkpoint_required,
                "adjusted": {key: {"asked": old, "used": new} for key, (old, new) in compiled.adjusted.items()},
            }
        )


class RecipeDiff(ApiView):
    """Two revisions side by side. A side that does not name a key has the trainer's default."""

    required_role = Role.VIEWER

    @extend_schema(
        parameters=[
            OpenApiParameter("left", str, required=True, description="slug or slug@revision"),
            OpenApiParameter("right", str, required=True, description="slug or slug@revision"),
        ],
        responses={200: COMPARED},
    )
    def get(self, request: Request) -> Response:
        asked = request.query_params
        return Response(compared(compare.recipes(signed_in(request), asked.get("left", ""), asked.get("right", ""))))


def _draft(given: dict[str, Any]) -> services.Draft:
    return services.Draft(
        name=given["name"],
        algorithm=given["algorithm"],
        trainer=given["trainer"],
        base_model=given["base_model"],
        params=given.get("params", {}),
        slug=given.get("slug", ""),
        description=given.get("description", ""),
        dataset=given.get("dataset"),
        derived_from=given.get("derived_from"),
        on_critical=given.get("on_critical", Recipe.OnCritical.STOP),
        on_stall=given.get("on_stall", Recipe.OnStall.NOTIFY),
    )


urlpatterns = [
    path("recipes/", Recipes.as_view(), name="api-recipes"),
    path("recipes/validate/", Validate.as_view(), name="api-recipe-validate"),
    path("recipes/diff/", RecipeDiff.as_view(), name="api-recipe-diff"),
    path("recipes/<slug:slug>/", RecipeDetail.as_view(), name="api-recipe"),
    path("recipes/<slug:slug>/revisions/", Revisions.as_view(), name="api-recipe-revisions"),
    path("recipes/<slug:slug>/compile/", Compile.as_view(), name="api-recipe-compile"),
]
