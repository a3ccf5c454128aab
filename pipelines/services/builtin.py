"""Brings a database to what every installation starts with. Safe to repeat; what people changed stays."""

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import transaction

from datasets.models import Dataset
from datasets.services import store
from datasets.services.sources import import_folder
from environments.models import Host
from environments.services import hosts
from pipelines.models import Queue, Recipe, RecipeRevision
from pipelines.recipes import builtin
from platform_site.common import queues
from platform_site.common.errors import PlatformError
from platform_site.common.models import Project
from platform_site.common.roles import ensure_roles

logger = logging.getLogger(__name__)

SLOTS: Final = {queues.TRAINING: 1, queues.EVALUATION: 1, queues.PREPROCESSING: 2, queues.DEFAULT: 16}
"""How much of each kind runs at a time at first; one where nothing is said. An administrator changes the rows."""
HOST_SLOTS: Final = SLOTS[queues.TRAINING] + SLOTS[queues.EVALUATION] + SLOTS[queues.PREPROCESSING]
"""What this machine takes at a time: a training that runs must hold up no evaluation, and no data."""
PROJECT: Final = "default"
LOCAL: Final = "local"


@dataclass
class Installed:
    """What was not there before."""

    made: list[str] = field(default_factory=list)

    def note(self, made: bool, what: str) -> None:
        if made:
            self.made.append(what)


def install() -> Installed:
    """Roles, the default project, queues, this machine, built-in datasets and recipes. Says what it made."""
    report = Installed()
    ensure_roles()
    project, made = Project.objects.get_or_create(slug=PROJECT, defaults={"name": "Default"})
    report.note(made, f"project {PROJECT}")
    _queues(report)
    _host(project, report)
    import_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    for dataset in builtin.DATASETS:
        _dataset(project, dataset, report)
    for recipe in builtin.RECIPES:
        _recipe(project, recipe, report)
    return report


def _queues(report: Installed) -> None:
    for name, priority in queues.PRIORITY.items():
        _row, made = Queue.objects.get_or_create(
            name=name, defaults={"priority": priority, "slots": SLOTS.get(name, 1)}
        )
        report.note(made, f"queue {name}")


def _host(project: Project, report: Installed) -> None:
    """This machine. Its root follows the data folder, which may have been moved."""
    root = str(Path(settings.DATA_DIR))
    host, made = Host.objects.get_or_create(
        name=LOCAL, defaults={"project": project, "kind": Host.Kind.LOCAL, "root": root, "slots": HOST_SLOTS}
    )
    report.note(made, f"host {LOCAL}")
    if host.root != root:
        Host.objects.filter(pk=host.pk).update(root=root)
        host.root = root
        report.note(True, f"root of host {LOCAL}")
    try:
        hosts.check(host)
    except PlatformError as error:  # its page says so, too
        logger.warning("What this machine is could not be seen: %s", error.message)


def _dataset(project: Project, wanted: builtin.BuiltinDataset, report: Installed) -> None:
    """Also repairs a file that is gone or damaged: its content is made again."""
    if Dataset.objects.filter(slug=wanted.slug, is_builtin=False).exists():
        logger.warning("Somebody's own dataset is called %s: the built-in one was not installed.", wanted.slug)
        return
    dataset, _made = Dataset.objects.get_or_create(
        slug=wanted.slug,
        is_builtin=True,
        defaults={
            "project": project,
            "name": wanted.name,
            "kind": wanted.kind,
            "description": wanted.description,
        },
    )
    before = dataset.versions.count()
    version = store.add_version(dataset, io.BytesIO(wanted.content()))
    report.note(dataset.versions.count() > before, f"dataset {wanted.slug}@{version.number}")


@transaction.atomic
def _recipe(project: Project, wanted: builtin.BuiltinRecipe, report: Installed) -> None:
    """A new revision only where the content differs from the newest."""
    if Recipe.objects.filter(slug=wanted.slug, is_template=False).exists():
        logger.warning("Somebody's own recipe is called %s: the built-in one was not installed.", wanted.slug)
        return
    told = {"name": wanted.name, "description": wanted.description}
    fixed = {"project": project, "algorithm": wanted.algorithm, "trainer": wanted.trainer, "is_template": True}
    recipe, _made = Recipe.objects.update_or_create(slug=wanted.slug, defaults=told, create_defaults={**told, **fixed})
    dataset = Dataset.objects.filter(slug=wanted.dataset, is_builtin=True).first()
    newest = RecipeRevision.objects.filter(recipe=recipe).order_by("-number").first()
    content = (wanted.base_model, wanted.params, dataset.pk if dataset else None)
    if newest is not None and (newest.base_model, newest.params, newest.dataset_id) == content:
        return
    number = newest.number + 1 if newest is not None else 1
    RecipeRevision.objects.create(
        recipe=recipe, number=number, base_model=wanted.base_model, params=wanted.params, dataset=dataset
    )
    report.note(True, f"recipe {wanted.slug}@{number}")
