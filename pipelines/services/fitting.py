"""Which recipes the hosts can run at all, whatever runs there now. Reading only; two queries for any number of them."""

from collections.abc import Iterable
from typing import Final

from environments import training
from environments.models import Host
from pipelines.models import RecipeRevision
from pipelines.placement import Ask, Waits, Why, place
from pipelines.recipe_selectors import spec_of
from pipelines.recipes.trainers import supported
from pipelines.recipes.validate import resources_of
from pipelines.services.rooms import room_of, told
from platform_site.common.models import User
from platform_site.common.selectors import projects_for

LASTING: Final = frozenset({Why.NO_HOST, Why.LABELS, Why.NO_GPUS, Why.TOO_FEW, Why.NO_CUDA})
"""What no waiting changes: somebody has to add a host, or change one."""


def lacking(user: User, revisions: Iterable[RecipeRevision]) -> dict[str, str]:
    """What is missing, by the slug of those recipes that no host has the GPUs or labels for."""
    hosts = list(Host.objects.filter(project__in=projects_for(user), enabled=True).order_by("name"))
    rooms = {host.name: room_of(host, training.state(host)) for host in hosts}
    found: dict[str, str] = {}
    for revision in revisions:
        recipe = revision.recipe
        if (recipe.algorithm, recipe.trainer) not in supported():
            continue
        wanted = resources_of(spec_of(revision))
        ask = Ask(wanted.gpus, wanted.gpu_memory_gib, frozenset(wanted.labels))
        decision, _rooms = place(ask, rooms)
        if isinstance(decision, Waits) and decision.why in LASTING:
            found[recipe.slug] = told(ask, decision)
    return found
