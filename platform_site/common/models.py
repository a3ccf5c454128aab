"""What every app may point at: people, projects and their traces."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _
from knox.models import AbstractAuthToken


class User(AbstractUser):  # type: ignore[django-manager-missing]  # the manager of tokens comes from knox
    """A person or a robot that signs in. Roles are groups: viewer, operator, admin."""


class Project(models.Model):
    """The unit of ownership. Selectors take a user and answer with the projects they may see."""

    slug = models.SlugField(_("slug"), max_length=63, unique=True)
    name = models.CharField(_("name"), max_length=200)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.name


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    """A key for programs. Only its hash stands here; the key is shown once, when it is made.

    `token_key` is the key's first characters, by which a person tells tokens apart.
    """

    class Scope(models.TextChoices):
        READ = "read", _("read")
        OPERATE = "operate", _("operate")
        ADMIN = "admin", _("administer")

    name = models.CharField(_("name"), max_length=100, blank=True, help_text=_("What the token is for."))
    scope = models.CharField(
        _("scope"),
        max_length=8,
        choices=Scope.choices,
        default=Scope.READ,
        help_text=_("The token may do what its owner may, and no more than this."),
    )
    last_used_at = models.DateTimeField(
        _("last used"), null=True, blank=True, help_text=_("To within five minutes."), editable=False
    )

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return f"{self.name or _('token')} ({self.token_key[:8]}…)"


class AuditEvent(models.Model):
    """Who did what, when and from where. Written by `audit.record` alone and never changed."""

    at = models.DateTimeField(_("at"), auto_now_add=True, db_index=True)
    actor = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("user")
    )
    # The name stays when the user is deleted.
    actor_name = models.CharField(_("who"), max_length=150, blank=True)
    action = models.CharField(_("action"), max_length=64, db_index=True)
    object_type = models.CharField(_("object type"), max_length=64, blank=True)
    object_id = models.CharField(_("object"), max_length=128, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    details = models.JSONField(_("details"), default=dict, blank=True)

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["object_type", "object_id"]),
            models.Index(fields=["actor_name", "-id"]),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.action}"


class IdempotencyRecord(models.Model):
    """The answer once given to an Idempotency-Key, kept for 24 hours. Committed together with its effect."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    route = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "route", "key"], name="idempotency_key_once"),
        ]

    def __str__(self) -> str:
        return f"{self.route} {self.key}"
