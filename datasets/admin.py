"""Datasets in Django's admin. Versions never change, so they are only looked at."""

from typing import ClassVar

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from platform_site.common.admin import AuditedAdmin, ReadOnlyAdmin

from .models import Dataset, DatasetCopy, DatasetVersion


@admin.register(Dataset)
class DatasetAdmin(AuditedAdmin):
    """Name and description may be edited; content comes as versions, through the API or a page."""

    list_display = ("slug", "name", "kind", "version_count", "is_builtin", "created_at")
    list_filter = ("kind", "is_builtin")
    search_fields = ("slug", "name")
    readonly_fields = ("slug", "kind", "project", "is_builtin", "created_at")
    fields = ("slug", "name", "kind", "description", "project", "is_builtin", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        datasets: QuerySet[Dataset] = super().get_queryset(request)
        return datasets.annotate(version_total=Count("versions"))

    @admin.display(description=_("versions"))
    def version_count(self, dataset: Dataset) -> int:
        total: int = dataset.version_total  # type: ignore[attr-defined]  # annotated above
        return total

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        return False


@admin.register(DatasetVersion)
class DatasetVersionAdmin(ReadOnlyAdmin):
    list_display = ("dataset", "number", "rows", "size", "sha256", "created_at")
    list_filter = ("dataset",)
    list_select_related = ("dataset",)
    search_fields: ClassVar = ["sha256", "dataset__slug"]


@admin.register(DatasetCopy)
class DatasetCopyAdmin(ReadOnlyAdmin):
    list_display = ("version", "host", "path", "verified_at")
    list_filter = ("host",)
    list_select_related = ("version", "host")
