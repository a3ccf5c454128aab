"""Notifications in Django's admin, to look at. Addresses that messages go to stay sealed."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from platform_site.common.admin import AuditedAdmin, ReadOnlyAdmin

from .models import Delivery, Event, Lane, Notification, Preference, Target


class OfPerson(ReadOnlyAdmin):
    """Goes with the person, or with what it belongs to: whoever may remove that may remove this."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return AuditedAdmin.has_delete_permission(self, request, obj)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("at", "kind", "severity", "about", "owner", "spread_at")
    list_filter = ("kind", "severity")
    list_select_related = ("owner",)
    search_fields = ("about", "key")
    show_full_result_count = False


@admin.register(Notification)
class NotificationAdmin(OfPerson):
    list_display = ("last_at", "user", "kind", "severity", "count", "read_at")
    list_filter = ("kind", "severity")
    list_select_related = ("user",)
    search_fields = ("user__username", "event__about")
    show_full_result_count = False


@admin.register(Preference)
class PreferenceAdmin(OfPerson):
    list_display = ("user", "mine_only", "language")
    list_select_related = ("user",)


@admin.register(Target)
class TargetAdmin(OfPerson):
    """An administrator can take somebody's address away, and neither read nor change it."""

    list_display = ("user", "name", "medium", "service", "sent_at", "problem", "lost")
    list_filter = ("medium",)
    list_select_related = ("user",)
    search_fields = ("user__username", "name")
    fields = ("user", "name", "medium", "service", "created_at", "sent_at", "problem", "problem_at", "lost")


@admin.register(Lane)
class LaneAdmin(OfPerson):
    list_display = ("target", "urgent", "next_at", "pause_s", "sent_at")
    list_filter = ("urgent",)
    list_select_related = ("target",)


@admin.register(Delivery)
class DeliveryAdmin(OfPerson):
    list_display = ("id", "lane", "event", "state", "tries")
    list_filter = ("state",)
    list_select_related = ("lane", "event")
    show_full_result_count = False
