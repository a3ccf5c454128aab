"""Admin pages of people, rights and records."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext_lazy as _

from . import audit, roles, tokens
from .models import ApiToken, AuditEvent, Project, User


class AuditedAdmin(admin.ModelAdmin[Any]):
    """Every change made here is an audit row too. Names of changed fields are kept, values are not."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        audit.record("admin.add", _person(request), obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        audit.record("admin.change", _person(request), obj, changed=_changed(message))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for obj in queryset:
            audit.record("admin.delete", _person(request), obj, name=str(obj))
        return super().log_deletions(request, queryset)


class ReadOnlyAdmin(AuditedAdmin):
    """To be looked at only. Other apps use it for records that services write."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _person(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def _changed(message: Any) -> list[str]:
    """Field names out of Django's change message, which is a list of dictionaries."""
    parts = message if isinstance(message, list) else []
    return [name for part in parts for name in part.get("changed", {}).get("fields", [])]


@admin.register(User)
class PeopleAdmin(AuditedAdmin, UserAdmin[User]):
    """A role is membership in the group of its name; Django's own staff flags and single rights are not used."""

    list_display = ("username", "email", "role", "is_active", "last_login")
    list_filter = ("is_active", "groups")
    filter_horizontal = ("groups",)
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email")}),
        (_("Rights"), {"fields": ("is_active", "groups")}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "usable_password", "password1", "password2", "groups")}),
    )
    readonly_fields = ("last_login", "date_joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description=_("role"))
    def role(self, user: User) -> str:
        if user.is_superuser:
            return "admin"
        names = {group.name for group in user.groups.all()}
        return next((role.slug for role in reversed(roles.Role) if role.slug in names), "")


admin.site.unregister(Group)


@admin.register(Group)
class RoleAdmin(AuditedAdmin, GroupAdmin):
    """The three groups of the roles cannot be renamed or deleted: the platform knows them by name."""

    def get_readonly_fields(self, request: HttpRequest, obj: Group | None = None) -> tuple[str, ...]:
        return ("name",) if obj is not None and obj.name in roles.ROLE_BY_SLUG else ()

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        if obj is not None and obj.name in roles.ROLE_BY_SLUG:
            return False
        return bool(super().has_delete_permission(request, obj))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        # Deleting a selection would not ask for each of them.
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}


@admin.register(Project)
class ProjectAdmin(AuditedAdmin):
    list_display = ("slug", "name", "created_at")
    search_fields = ("slug", "name")
    readonly_fields = ("created_at",)


class NewTokenForm(forms.ModelForm[ApiToken]):
    days = forms.IntegerField(
        label=_("Days"), min_value=1, max_value=tokens.MAX_DAYS, initial=90, help_text=_("Then it expires.")
    )

    class Meta:
        model = ApiToken
        fields = ("user", "name", "scope")


@admin.register(ApiToken)
class TokenAdmin(AuditedAdmin):
    """Made here, shown once, and then only revoked: a token does not change."""

    form = NewTokenForm
    list_display = ("name", "user", "scope", "begins", "created", "expiry", "last_used_at")
    list_filter = ("scope",)
    search_fields = ("name", "user__username")
    autocomplete_fields = ("user",)
    list_select_related = ("user",)
    fields: ClassVar = ("user", "name", "scope", "begins", "created", "expiry", "last_used_at")

    @admin.display(description=_("begins with"))
    def begins(self, token: ApiToken) -> str:
        return f"{token.token_key[:8]}…"

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        return ("user", "name", "scope", "days") if obj is None else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        return () if obj is None else self.fields

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiToken, form: forms.ModelForm[ApiToken], change: bool) -> None:
        obj.issued_key = tokens.prepare(obj, days=form.cleaned_data["days"])
        obj.save(force_insert=True)

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None) -> HttpResponse:
        """Shows the key in the answer itself: a redirect would have to keep it somewhere on the way."""
        context = {
            **self.admin_site.each_context(request),
            "title": _("The new token"),
            "opts": self.opts,
            "token": obj,
            "key": obj.issued_key,  # save_model has just put it there
        }
        response = TemplateResponse(request, "admin/common/apitoken/created.html", context)
        add_never_cache_headers(response)
        return response


@admin.register(AuditEvent)
class AuditAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor_name", "action", "object_type", "object_id", "address")
    list_filter = ("action",)
    search_fields = ("actor_name", "action", "object_id")
    date_hierarchy = "at"
