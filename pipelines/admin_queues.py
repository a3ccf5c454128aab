"""Queues in Django's admin: how much of each kind of work runs at a time."""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from platform_site.common.admin import AuditedAdmin

from .models import Queue

MOST_SLOTS: Final = 1000


class QueueForm(forms.ModelForm[Queue]):
    slots = forms.IntegerField(
        label=_("Slots"),
        min_value=1,
        max_value=MOST_SLOTS,
        help_text=_("How many of its stages run at a time. Hosts and GPUs have slots of their own."),
    )

    class Meta:
        model = Queue
        fields = ("slots",)


@admin.register(Queue)
class QueueAdmin(AuditedAdmin):
    """Which queues there are, and their priority, is the platform's business."""

    form = QueueForm
    list_display = ("name", "priority", "slots")
    fields = ("name", "priority", "slots")
    readonly_fields = ("name", "priority")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
