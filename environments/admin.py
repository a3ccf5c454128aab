"""Hosts in Django's admin: what people decide about one. What a host is, it says itself."""

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from platform_site.common.admin import AuditedAdmin

from .models import Host


@admin.register(Host)
class HostAdmin(AuditedAdmin):
    """GPUs are what the driver says, unless somebody says that they are set by hand."""

    list_display = ("name", "kind", "slots", "gpu_count", "labels", "enabled", "unreachable_since")
    list_filter = ("kind", "enabled")
    search_fields = ("name",)
    fields = ("name", "kind", "address", "root", "python", "slots", "enabled", "labels", "gpus_by_hand", "gpus")
    readonly_fields = ("name", "kind", "address", "root")

    @admin.display(description=_("number of GPUs"))
    def gpu_count(self, host: Host) -> int:
        return len(host.gpus)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Host | None = None) -> bool:
        return False
