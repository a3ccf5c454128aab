"""Hosts in Django's admin, by the same rules as pages and API. Credentials go in, and never come out."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from platform_site.common.admin import AuditedAdmin
from platform_site.common.errors import Conflict
from platform_site.common.models import User

from .models import Host
from .services import host_fields
from .services import hosts as services
from .transports.connection import fingerprint


class HostForm(forms.ModelForm[Host]):
    password = forms.CharField(
        label=_("Password"),
        required=False,
        widget=forms.PasswordInput(render_value=False),
        strip=False,
        help_text=_("Empty: what is there stays."),
    )
    private_key = forms.CharField(
        label=_("Private key"), required=False, widget=forms.Textarea(attrs={"rows": 4}), strip=False
    )
    passphrase = forms.CharField(
        label=_("Passphrase of the key"), required=False, widget=forms.PasswordInput(render_value=False), strip=False
    )

    seen_revision = forms.IntegerField(required=False, min_value=0, label="", widget=forms.HiddenInput)
    """Of the row as it was when the form was opened."""

    class Meta:
        model = Host
        fields = (
            "project", "name", "address", "port", "user", "root", "python", "slots", "enabled", "labels",
            "gpus_by_hand", "gpus",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seen_revision"].initial = self.instance.revision

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        now, is_new = row(self.instance), self.instance._state.adding
        if is_new:
            now.name = cleaned.get("name", "")
        for name, said in host_fields.problems(now, self.asked()).items():
            if name not in self.errors:
                self.add_error(name if name in self.fields else None, said)
        try:
            if not is_new:
                services.refuse_stale(row(self.instance), cleaned.get("seen_revision") or 0)
        except Conflict as error:
            for name, told in error.fields.items():
                self.add_error(name if name in self.fields else None, " ".join(told))
            self.add_error(None, error.message)
        return cleaned

    def asked(self) -> dict[str, Any]:
        """What was changed, as the service takes it."""
        over_ssh = self.instance._state.adding or self.instance.kind == Host.Kind.SSH
        known = host_fields.KNOWN[Host.Kind.SSH] if over_ssh else host_fields.OF_ANY_KIND
        return {name: self.cleaned_data[name] for name in known & self.cleaned_data.keys() if name in self.changed_data}


def row(host: Host) -> Host:
    """As it stands in the database: the form has changed its own already."""
    return Host(kind=Host.Kind.SSH) if host._state.adding else Host.objects.get(pk=host.pk)


@admin.register(Host)
class HostAdmin(AuditedAdmin):
    form = HostForm
    list_display = (
        "name", "kind", "address", "user", "slots", "gpu_count", "labels", "enabled", "unreachable_since", "facts_at",
    )  # fmt: skip
    list_filter = ("kind", "enabled")
    search_fields = ("name", "address")
    readonly_fields = (
        "key_fingerprint",
        "credentials",
        "facts",
        "facts_at",
        "last_error",
        "last_error_at",
        "created_at",
    )
    fields: ClassVar = [
        "project", "name", "address", "port", "user", "password", "private_key", "passphrase", "credentials",
        "key_fingerprint", "root", "python", "slots", "enabled", "labels", "gpus_by_hand", "gpus", "facts",
        "facts_at", "last_error", "last_error_at", "created_at", "seen_revision",
    ]  # fmt: skip

    @admin.display(description=_("number of GPUs"))
    def gpu_count(self, host: Host) -> int:
        return len(host.gpus)

    @admin.display(description=_("host key"))
    def key_fingerprint(self, host: Host) -> str:
        return fingerprint(host.host_key) or "–"

    @admin.display(description=_("credentials"), boolean=True)
    def credentials(self, host: Host) -> bool:
        return bool(host.secret)

    def get_readonly_fields(self, request: HttpRequest, obj: Host | None = None) -> tuple[str, ...]:
        if obj is None:
            return self.readonly_fields
        fixed = ("project", "name", *(("address", "port", "user", "root") if obj.kind != Host.Kind.SSH else ()))
        return (*fixed, *self.readonly_fields)

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Host:
        """New ones are SSH hosts: this machine is one already."""
        host: Host = super().save_form(request, form, change)
        if not change:
            host.kind = Host.Kind.SSH
        return host

    def save_model(self, request: HttpRequest, obj: Host, form: HostForm, change: bool) -> None:
        assert isinstance(request.user, User), "admin is for people"
        if change:
            services.update(request.user, row(obj), form.asked(), revision=form.cleaned_data["seen_revision"] or 0)
        else:
            made = services.create(request.user, obj.project, obj.name, form.asked())
            obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: Host) -> None:
        assert isinstance(request.user, User), "admin is for people"
        services.delete(request.user, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Host | None = None) -> bool:
        if obj is not None and (obj.is_local or obj.attempts.exists()):
            return False
        return bool(super().has_delete_permission(request, obj))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}
