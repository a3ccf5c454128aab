"""Making datasets and adding to them."""

from typing import IO

from django.db import transaction
from django.utils.translation import gettext as _

from datasets.models import Dataset, DatasetVersion
from platform_site.common import audit
from platform_site.common.errors import Conflict, Forbidden
from platform_site.common.models import Project, User
from platform_site.common.naming import slug_from
from platform_site.common.paths import slug as valid_slug

from . import store


def create_dataset(
    *,
    user: User,
    project: Project,
    name: str,
    kind: str,
    file: IO[bytes],
    slug: str | None = None,
    description: str = "",
) -> Dataset:
    """A dataset with its first version, made whole or not at all.

    The same name, kind and content again answers with the dataset that is there. Raises Invalid, TooLarge, and
    Conflict when the name belongs to another one.
    """
    slug = valid_slug(slug) if slug else slug_from(name, "dataset")
    with store.stage(file) as staged:
        report = store.checked(staged, kind)
        store.keep(staged)
        with transaction.atomic():
            dataset, made = Dataset.objects.get_or_create(
                slug=slug,
                defaults={"project": project, "name": name, "kind": kind, "description": description},
            )
            if made:
                store.record(dataset, staged, report)
                audit.record("dataset.create", user, dataset, slug=slug, sha256=staged.sha256)
            elif not _same(dataset, name, kind, staged.sha256):
                message = _("There is a dataset “%(slug)s” already. Add a version to it, or choose another name.")
                raise Conflict(message % {"slug": slug}, {"name": _("taken")}, code="name_taken")
    return dataset


def add_version(*, user: User, dataset: Dataset, file: IO[bytes]) -> DatasetVersion:
    """The version of `dataset` with this content, new or known. Raises Forbidden for built-in datasets, Invalid,
    TooLarge."""
    if dataset.is_builtin:
        raise Forbidden(_("Built-in datasets do not change. Make a dataset of your own."), code="built_in")
    version = store.add_version(dataset, file)
    audit.record("dataset.version", user, dataset, number=version.number, sha256=version.sha256)
    return version


def _same(dataset: Dataset, name: str, kind: str, sha256: str) -> bool:
    first = dataset.versions.order_by("number").first()
    return first is not None and (dataset.name, dataset.kind, first.sha256) == (name, kind, sha256)
