"""Who may do what: three roles, kept as groups, and the scopes that narrow a token below its owner's role."""

import enum
from typing import Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, Permission
from django.db import transaction
from django.db.models import Q


class Role(enum.IntEnum):
    """Ordered: a higher role may do all that a lower one may. `name.lower()` is the name of its group."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def slug(self) -> str:
        return self.name.lower()


ROLE_BY_SLUG: Final = {role.slug: role for role in Role}
SCOPE_ROLE: Final = {"read": Role.VIEWER, "operate": Role.OPERATOR, "admin": Role.ADMIN}
"""The most that a token of each scope may do, whatever its owner may."""

OWN_APPS: Final = ("common", "notifications", "environments", "datasets", "monitoring", "pipelines", "registry")
OPERATED_APPS: Final = ("datasets", "pipelines", "registry")


def role_of(user: AbstractBaseUser | AnonymousUser | None) -> Role | None:
    """The highest role of `user`; None for a stranger, an inactive user and one without any role. One query."""
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    if getattr(user, "is_superuser", False):
        return Role.ADMIN
    names = Group.objects.filter(user__pk=user.pk, name__in=ROLE_BY_SLUG).values_list("name", flat=True)
    return max((ROLE_BY_SLUG[name] for name in names), default=None)


def effective_role(user: AbstractBaseUser | AnonymousUser | None, scope: str | None) -> Role | None:
    """The right of a request: the owner's role, cut to the token's scope. `scope` None: a session, no token."""
    role = role_of(user)
    if role is None or scope is None:
        return role
    limit = SCOPE_ROLE.get(scope)
    # A scope nobody knows gives no right at all.
    return None if limit is None else min(role, limit)


@transaction.atomic
def ensure_roles() -> None:
    """Makes the three groups and gives each its Django permissions. Safe to repeat; run after every migrate,
    so that the models of a new version are covered."""
    own = Q(content_type__app_label__in=OWN_APPS)
    secret = Q(content_type__model__in=["apitoken", "idempotencyrecord"])
    seen = own & Q(codename__startswith="view_") & ~secret
    operated = Q(content_type__app_label__in=OPERATED_APPS) & (
        Q(codename__startswith="add_") | Q(codename__startswith="change_")
    )
    rights = {Role.VIEWER: seen, Role.OPERATOR: seen | operated, Role.ADMIN: Q()}
    held = Group.permissions.through.objects  # rows alone: every start comes by here, and hardly ever changes one
    wanted: set[tuple[int, int]] = set()
    groups = []
    for role, which in rights.items():
        group, _ = Group.objects.get_or_create(name=role.slug)
        groups.append(group.pk)
        allowed = Permission.objects.filter(which).order_by().values_list("pk", flat=True)
        wanted |= {(group.pk, permission) for permission in allowed}
    found = {(row[1], row[2]): row[0] for row in held.filter(group__in=groups).values_list("pk", "group", "permission")}
    held.filter(pk__in=[pk for pair, pk in found.items() if pair not in wanted]).delete()
    held.bulk_create(
        [held.model(group_id=group, permission_id=permission) for group, permission in sorted(wanted - found.keys())],
        ignore_conflicts=True,
    )


@transaction.atomic
def grant(user: AbstractBaseUser, role: Role) -> None:
    """Makes `role` the user's one role; other groups stay."""
    found = {group.name: group for group in Group.objects.filter(name__in=ROLE_BY_SLUG)}
    if role.slug not in found:
        ensure_roles()
        found = {group.name: group for group in Group.objects.filter(name__in=ROLE_BY_SLUG)}
    wanted = found.pop(role.slug)
    groups = user.groups  # type: ignore[attr-defined]  # AbstractUser has them, the base class does not
    groups.remove(*found.values())
    groups.add(wanted)
