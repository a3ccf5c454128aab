"""The pages of datasets, with the runs that used them."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Count, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from datasets.models import Dataset, DatasetVersion
from pipelines import selectors
from platform_site.common.errors import NotFound
from platform_site.common.pages import may_operate, needs
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for


def _datasets(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Dataset]:
    """Each with its versions, newest first, and the number of runs on every one."""
    versions = DatasetVersion.objects.annotate(runs=Count("jobs", distinct=True)).order_by("-number")
    return (
        Dataset.objects.filter(project__in=projects_for(user))
        .prefetch_related(Prefetch("versions", versions.prefetch_related("copies__host")))
        .annotate(runs=Count("versions__jobs", distinct=True))
        .order_by("slug")
    )


@require_GET
@needs(Role.VIEWER)
def datasets(request: HttpRequest) -> HttpResponse:
    """`?kind=`, `?search=`."""
    kind, search = request.GET.get("kind", "").strip().lower(), request.GET.get("search", "").strip()
    found = _datasets(request.user)
    total = found.count()
    if kind:
        found = found.filter(kind=kind)
    for word in search.split():
        found = found.filter(Q(name__icontains=word) | Q(slug__icontains=word) | Q(description__icontains=word))
    context = {
        "datasets": found,
        "total": total,
        "kind": kind,
        "search": search,
        "kinds": [("", _("All")), *Dataset.Kind.choices],
    }
    return render(request, "datasets/list.html", context)


@require_GET
@needs(Role.VIEWER)
def dataset(request: HttpRequest, slug: str) -> HttpResponse:
    found = _datasets(request.user).filter(slug=slug).first()
    if found is None:
        raise NotFound(_("There is no such dataset."))
    versions = list(found.versions.all())
    used = selectors.jobs_for(request.user).filter(dataset_version__dataset=found).order_by("-created_at")[:8]
    context = {
        "dataset": found,
        "versions": versions,
        "latest": versions[0] if versions else None,
        "jobs": used,
        "can_operate": may_operate(request),
    }
    return render(request, "datasets/detail.html", context)
