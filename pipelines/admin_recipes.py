"""Recipes in Django's admin. Their content stands in revisions, which never change and are only looked at."""

from typing import ClassVar

from django.contrib import admin
from django.http import HttpRequest

from platform_site.common.admin import AuditedAdmin, ReadOnlyAdmin

from .models import Recipe, RecipeRevision


class RevisionInline(admin.TabularInline[RecipeRevision, Recipe]):
    model = RecipeRevision
    fields = ("number", "base_model", "dataset", "params", "created_by", "created_at")
    readonly_fields = fields
    ordering = ("-number",)
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Recipe | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Recipe | None = None) -> bool:
        return False


@admin.register(Recipe)
class RecipeAdmin(AuditedAdmin):
    """Name and description may be edited; content is revised through the API or a page, where it is checked."""

    list_display = ("slug", "name", "algorithm", "trainer", "is_template", "created_by", "created_at")
    list_filter = ("algorithm", "trainer", "is_template")
    list_select_related = ("created_by",)
    search_fields = ("slug", "name", "description")
    fields = (
        "slug", "name", "description", "algorithm", "trainer", "project", "is_template", "derived_from", "created_by",
        "created_at",
    )  # fmt: skip
    readonly_fields = tuple(name for name in fields if name not in {"name", "description"})
    inlines: ClassVar = [RevisionInline]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Recipe | None = None) -> bool:
        if obj is not None and obj.is_template:
            return False
        return bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Recipe | None = None) -> bool:
        return False


@admin.register(RecipeRevision)
class RecipeRevisionAdmin(ReadOnlyAdmin):
    list_display = ("recipe", "number", "base_model", "dataset", "created_by", "created_at")
    list_filter = ("recipe",)
    list_select_related = ("recipe", "dataset", "created_by")
    search_fields = ("recipe__slug", "base_model")
