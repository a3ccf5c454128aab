"""Notifications in Django's admin, to look at. Addresses that messages go to stay sealed."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from platform_site.common.admin import ReadOnlyAdmin

from .models import Delivery, Event, Notification, Preference, Target


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("at", "kind", "severity", "about", "owner", "spread_at")
    list_filter = ("kind", "severity")
    list_select_related = ("owner",)
    search_fields = ("about", "key")
    show_full_result_count = False


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ("last_at", "user", "kind", "severity", "count", "read_at")
    list_filter = ("kind", "severity")
    list_select_related = ("user",)
    search_fields = ("user__username", "event__about")
    show_full_result_count = False


@admin.register(Preference)
class PreferenceAdmin(ReadOnlyAdmin):
    list_display = ("user", "mine_only", "language")
    list_select_related = ("user",)


@admin.register(Target)
class TargetAdmin(ReadOnlyAdmin):
    """An administrator can take somebody's address away, and neither read nor change it."""

    list_display = ("user", "name", "medium", "service", "sent_at", "problem")
    list_filter = ("medium",)
    list_select_related = ("user",)
    search_fields = ("user__username", "name")
    fields = ("user", "name", "medium", "service", "created_at", "sent_at", "problem", "problem_at")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(super(ReadOnlyAdmin, self).has_delete_permission(request, obj))


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("id", "target", "event", "state", "tries")
    list_filter = ("state",)
    list_select_related = ("target", "event")
    show_full_result_count = False
