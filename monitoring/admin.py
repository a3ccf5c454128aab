"""Streams in the admin, to look at: what stands here is made by reading the files of runs."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from platform_site.common.admin import ReadOnlyAdmin

from .models import BadLine, Segment, Stream


class SegmentInline(admin.TabularInline[Segment, Stream]):
    model = Segment
    extra = 0
    can_delete = False
    fields = ("attempt", "path", "offset", "generation", "resumed_from", "first_step", "last_step", "bad_lines")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Stream)
class StreamAdmin(ReadOnlyAdmin):
    list_display = ("id", "project", "last_step", "target_step", "has_anomaly", "updated_at")
    list_filter = ("project", "has_anomaly")
    list_select_related = ("project",)
    search_fields = ("id",)
    inlines = (SegmentInline,)
    fields = (
        "id",
        "project",
        "last_step",
        "target_step",
        "version",
        "names",
        "warnings",
        "has_anomaly",
        "anomaly_type",
        "anomaly_message",
        "anomaly_step",
        "updated_at",
        "created_at",
    )


@admin.register(BadLine)
class BadLineAdmin(ReadOnlyAdmin):
    list_display = ("segment", "generation", "offset", "reason", "excerpt")
    list_select_related = ("segment",)
    search_fields = ("segment__stream__id", "reason")
    list_display_links = None
    show_full_result_count = False
