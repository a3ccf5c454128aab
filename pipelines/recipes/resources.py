"""What a run asks of the host it is placed on: GPUs, their memory, labels. Settings of a recipe like all others, which
no trainer reads: they may be overridden for one run, are compared, and stand in the form.

Where a recipe does not say how many GPUs it wants, its other settings do: a number of verl's own that a script brought
along, else as many as its parallel sizes need. What the platform makes itself (`builtin:…`) is small enough for
processors, and takes no GPU from anybody.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from platform_site.common.labels import is_label

from .fields import Field, Group
from .spec import Json, Leaf, Problem, RecipeSpec, Tree, gettext_noop

PREFIX: Final = "resources."
GPUS: Final = "resources.gpus"
MEMORY: Final = "resources.gpu_memory_gib"
LABELS: Final = "resources.labels"
OF_SCRIPTS: Final = "trainer.n_gpus_per_node"
"""What verl's own scripts say. The platform fills it in for the trainer, and reads it as a wish."""
BUILTIN: Final = "builtin:"
MOST_GPUS: Final = 1024
MOST_MEMORY_GIB: Final = 4096

LEAVES: Final[Mapping[str, Leaf]] = MappingProxyType(
    {
        GPUS: Leaf(GPUS, "integer|null", None),
        MEMORY: Leaf(MEMORY, "number", 0.0),
        LABELS: Leaf(LABELS, "array", []),
    }
)

GROUP: Final = Group(
    gettext_noop("GPUs and host"),
    (
        Field(
            GPUS,
            gettext_noop("Number of GPUs"),
            gettext_noop("Of one host, for this run alone. 0: it trains on the processor. Empty: what it needs."),
        ),
        Field(
            MEMORY,
            gettext_noop("Memory of each"),
            gettext_noop("The least that will do, as cards are called: 24, 40, 80. 0: any."),
            gettext_noop("GiB"),
        ),
        Field(LABELS, gettext_noop("Labels"), gettext_noop("Only a host that has all of them, such as [h100, fast].")),
    ),
)


@dataclass(frozen=True)
class Resources:
    """`gpus` of one host, each with at least `gpu_memory_gib` (0: any), where the host has all `labels`."""

    gpus: int = 0
    gpu_memory_gib: float = 0.0
    labels: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        return {"gpus": self.gpus, "gpu_memory_gib": self.gpu_memory_gib, "labels": list(self.labels)}


def beside(tree: Tree) -> Tree:
    """A trainer's settings with these."""
    return Tree(raw=tree.raw, leaves=MappingProxyType({**tree.leaves, **LEAVES}))


def is_one(key: str) -> bool:
    """Whether it is for the platform and not for the trainer."""
    return key.startswith(PREFIX)


def of_recipe(spec: RecipeSpec, fewest: int) -> Resources:
    """What a run of the recipe asks for. `fewest` is the smallest number of processes that can run its settings."""
    params = spec.params
    memory = params.get(MEMORY)
    return Resources(
        gpus=_gpus(spec, fewest),
        gpu_memory_gib=float(memory) if _is_size(memory) else 0.0,  # type: ignore[arg-type]  # so it was found
        labels=_labels(params.get(LABELS)),
    )


def _gpus(spec: RecipeSpec, fewest: int) -> int:
    wanted, brought = spec.params.get(GPUS), spec.params.get(OF_SCRIPTS)
    if _whole(wanted, 0, MOST_GPUS):
        return int(wanted)  # type: ignore[arg-type]  # so it was found
    if spec.base_model.startswith(BUILTIN):
        return 0
    if _whole(brought, 1, MOST_GPUS):
        return int(brought)  # type: ignore[arg-type]  # so it was found
    return fewest


def of_object(value: Any, default: Resources) -> Resources:
    """`{gpus, gpu_memory_gib, labels}` of a stage, checked before; what it does not say is `default`'s."""
    given = value if isinstance(value, Mapping) else {}
    gpus = given.get("gpus")
    return Resources(
        default.gpus if gpus is None else int(gpus),
        float(given.get("gpu_memory_gib") or default.gpu_memory_gib),
        _labels(given["labels"]) if "labels" in given else default.labels,
    )


def object_problems(value: Any) -> Iterator[Problem]:
    """What is wrong with such an object, by the name below it."""
    if not isinstance(value, Mapping):
        yield Problem("", gettext_noop("Give an object: gpus, gpu_memory_gib, labels."))
        return
    for name in value:
        if f"{PREFIX}{name}" not in LEAVES:
            yield Problem(str(name), gettext_noop("There is gpus, gpu_memory_gib and labels."))
    for problem in problems({f"{PREFIX}{name}": one for name, one in value.items()}):
        yield Problem(problem.key.removeprefix(PREFIX), problem.template, problem.values)


def problems(params: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the values of these settings."""
    wanted, memory, labels = params.get(GPUS), params.get(MEMORY), params.get(LABELS)
    if wanted is not None and not _whole(wanted, 0, MOST_GPUS):
        yield Problem(GPUS, gettext_noop("A whole number from 0 to %(most)d."), {"most": MOST_GPUS}, "1")
    if memory is not None and not _is_size(memory):
        yield Problem(MEMORY, gettext_noop("A number of GiB from 0 to %(most)d."), {"most": MOST_MEMORY_GIB}, "0")
    if labels is not None and (
        not isinstance(labels, list | tuple) or len(labels) > 8 or not all(is_label(one) for one in labels)
    ):
        yield Problem(LABELS, gettext_noop("A list of at most 8 words of small letters, digits, - _ and dots."))


def _labels(value: Any) -> tuple[str, ...]:
    return tuple(sorted({str(one) for one in value or () if is_label(one)}))


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_size(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 <= value <= MOST_MEMORY_GIB
