"""The pages of datasets, with the runs that used them."""

from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Count, Prefetch, Q, QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from datasets.forms import NewDatasetForm, VersionForm
from datasets.models import Dataset, DatasetVersion
from datasets.selectors import version_for
from datasets.services import datasets as services
from datasets.services import store
from datasets.services.preview import first_rows
from datasets.services.validate import max_bytes
from pipelines import selectors
from platform_site.common.errors import Conflict, Invalid, NotFound, TooLarge
from platform_site.common.pages import may_operate, needs, visitor
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
        "can_operate": may_operate(request),
    }
    return render(request, "datasets/list.html", context)


@require_GET
@needs(Role.VIEWER)
def dataset(request: HttpRequest, slug: str) -> HttpResponse:
    """`?version=` the number of the one that is shown; the newest without it."""
    found = _dataset(request, slug)
    versions = list(found.versions.all())
    asked = request.GET.get("version", "")
    shown = next((one for one in versions if str(one.number) == asked), versions[0] if versions else None)
    used = selectors.jobs_for(request.user).filter(dataset_version__dataset=found).order_by("-created_at")[:8]
    context = {
        "dataset": found,
        "versions": versions,
        "shown": shown,
        "samples": first_rows(shown) if shown is not None else [],
        "jobs": used,
        "can_operate": may_operate(request),
    }
    return render(request, "datasets/detail.html", context)


def _dataset(request: HttpRequest, slug: str) -> Dataset:
    found = _datasets(request.user).filter(slug=slug).first()
    if found is None:
        raise NotFound(_("There is no such dataset."))
    return found


@require_GET
@needs(Role.VIEWER)
def download(request: HttpRequest, slug: str, number: int) -> FileResponse:
    """A version's file, as it was taken in."""
    version = version_for(request.user, slug, number)
    try:
        file = store.path_of(version.sha256, version.format).open("rb")
    except OSError as error:
        raise NotFound(_("The file is gone.")) from error
    return FileResponse(file, as_attachment=True, filename=f"{slug}-{number}.{version.format}")


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def new_dataset(request: HttpRequest) -> HttpResponse:
    """A dataset with its first version, from a file that is sent."""
    form = NewDatasetForm(initial={"kind": request.GET.get("kind", "")})
    lines: list[str] = []
    if request.method == "POST":
        form = NewDatasetForm(request.POST, request.FILES)
        project = projects_for(request.user).order_by("id").first()
        if project is None:
            raise NotFound(_("There is no project yet. Run manage.py install_builtins."))
        if form.is_valid():
            given = form.cleaned_data
            try:
                made = services.create_dataset(
                    user=visitor(request),
                    project=project,
                    name=given["name"],
                    kind=given["kind"],
                    file=given["file"].file,
                    description=given["description"],
                )
            except (Invalid, Conflict, TooLarge) as error:
                lines = form.tell(error)
            else:
                messages.success(request, _("“%(name)s” was taken in.") % {"name": made.name})
                return redirect("dataset", slug=made.slug)
    context = {"form": form, "lines": lines, "limit": max_bytes()}
    return render(request, "datasets/new.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def new_version(request: HttpRequest, slug: str) -> HttpResponse:
    """Another version of a dataset. The same content again is the version that is there."""
    found = _dataset(request, slug)
    form = VersionForm()
    lines: list[str] = []
    if request.method == "POST":
        form = VersionForm(request.POST, request.FILES)
        newest = found.versions.first()
        if form.is_valid():
            try:
                file = form.cleaned_data["file"].file
                version = services.add_version(user=visitor(request), dataset=found, file=file)
            except (Invalid, TooLarge) as error:
                lines = form.tell(error)
            else:
                known = newest is not None and version.number <= newest.number
                told = _("Version %(number)d has this content already.") if known else _("Version %(number)d was made.")
                messages.success(request, told % {"number": version.number})
                return redirect("dataset", slug=found.slug)
    context = {"dataset": found, "form": form, "lines": lines, "limit": max_bytes()}
    return render(request, "datasets/new_version.html", context, status=422 if form.errors else 200)
