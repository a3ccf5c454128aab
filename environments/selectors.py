"""What a user may see of hosts. Reading only."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import F, QuerySet
from django.utils.translation import gettext as _

from platform_site.common.errors import NotFound
from platform_site.common.selectors import projects_for

from .models import Host


def hosts_for(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Host]:
    """Those that do not answer first, then by name."""
    return (
        Host.objects.filter(project__in=projects_for(user))
        .select_related("project")
        .order_by(F("unreachable_since").asc(nulls_last=True), "name")
    )


def host_for(user: AbstractBaseUser | AnonymousUser, name: str) -> Host:
    """Raises NotFound."""
    found = hosts_for(user).filter(name=name).first()
    if found is None:
        raise NotFound(_("There is no such host."))
    return found
