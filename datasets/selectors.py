"""What a user may see of datasets. Reading only; a constant number of queries."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _

from platform_site.common.errors import NotFound
from platform_site.common.selectors import projects_for

from .models import Dataset, DatasetCopy, DatasetVersion

Person = AbstractBaseUser | AnonymousUser


def datasets_for(user: Person) -> QuerySet[Dataset]:
    """With their versions, newest first, and where those are and which runs used them."""
    return (
        Dataset.objects.filter(project__in=projects_for(user))
        .select_related("project")
        .prefetch_related(Prefetch("versions", _with_uses(DatasetVersion.objects.order_by("-number"))))
    )


def dataset_for(user: Person, slug: str) -> Dataset:
    """Raises NotFound."""
    found = datasets_for(user).filter(slug=slug).first()
    if found is None:
        raise NotFound(_("There is no such dataset."))
    return found


def versions_for(user: Person, slug: str) -> QuerySet[DatasetVersion]:
    """The versions of one dataset, newest first. Raises NotFound."""
    if not Dataset.objects.filter(project__in=projects_for(user), slug=slug).exists():
        raise NotFound(_("There is no such dataset."))
    return _with_uses(DatasetVersion.objects.filter(dataset__slug=slug)).order_by("-number")


def version_for(user: Person, slug: str, number: int) -> DatasetVersion:
    """Raises NotFound."""
    found = versions_for(user, slug).select_related("dataset").filter(number=number).first()
    if found is None:
        raise NotFound(_("There is no such version."))
    return found


def _with_uses(versions: QuerySet[DatasetVersion]) -> QuerySet[DatasetVersion]:
    # `jobs` is the way back from pipelines' Job, which stands above this app.
    return versions.prefetch_related(Prefetch("copies", DatasetCopy.objects.select_related("host")), "jobs")
