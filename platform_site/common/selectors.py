"""What a user may see of the shared things."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet

from .models import AuditEvent, Project
from .roles import Role, role_of


def projects_for(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Project]:
    """Every project for anybody with a role: one team shares one platform. Nothing for others."""
    return Project.objects.all() if role_of(user) is not None else Project.objects.none()


def audit_for(user: AbstractBaseUser | AnonymousUser) -> QuerySet[AuditEvent]:
    """The audit log, for admins alone."""
    return AuditEvent.objects.all() if role_of(user) == Role.ADMIN else AuditEvent.objects.none()
