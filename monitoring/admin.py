"""Streams in the admin, to look at: what stands here is made by reading the files of runs."""

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from .models import BadLine, Segment, Stream


class ReadOnly:
    """Nothing can be added, changed or deleted."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class SegmentInline(ReadOnly, admin.TabularInline):
    model = Segment
    extra = 0
    fields: ClassVar = [
        "attempt", "path", "offset", "generation", "resumed_from", "first_step", "last_step", "bad_lines",
    ]


@admin.register(Stream)
class StreamAdmin(ReadOnly, admin.ModelAdmin):
    list_display: ClassVar = ["id", "project", "last_step", "target_step", "has_anomaly", "updated_at"]
    list_filter: ClassVar = ["project", "has_anomaly"]
    list_select_related: ClassVar = ["project"]
    search_fields: ClassVar = ["id"]
    inlines: ClassVar = [SegmentInline]
    fields: ClassVar = [
        "id", "project", "last_step", "target_step", "version", "names", "warnings",
        "has_anomaly", "anomaly_type", "anomaly_message", "anomaly_step", "updated_at", "created_at",
    ]


@admin.register(BadLine)
class BadLineAdmin(ReadOnly, admin.ModelAdmin):
    list_display: ClassVar = ["segment", "generation", "offset", "reason", "excerpt"]
    list_select_related: ClassVar = ["segment"]
    search_fields: ClassVar = ["segment__stream__id", "reason"]
    list_display_links: ClassVar = None
    show_full_result_count = False
