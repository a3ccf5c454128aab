"""What a trainer is to recipes: its settings, its rules, and how a run of it is started. One folder a trainer."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from pipelines.recipes.fields import Group
from pipelines.recipes.spec import DatasetRef, Json, Place, Problem, RecipeSpec, Tree, gettext_noop

_REMOTE_CODE_NAMES: Final = frozenset({"trust_remote_code", "auto_map", "remote_code"})
REMOTE_CODE: Final = gettext_noop(
    "Only an administrator may set it: it lets the model's files run their own code on the host."
)


@dataclass(frozen=True)
class Steps:
    """`target` is the step the run ends at; 0 steps per epoch means that no whole batch fits the data."""

    per_epoch: int
    target: int


@dataclass(frozen=True)
class Rules:
    """What a trainer's code takes beyond the types of its settings, and whose they are. All by dotted name.

    `platform`: keys that the platform sets, and why. `admin`: keys that only an administrator may set, and why; the
    default is anybody's, and so are the values in `harmless`.
    `words`: the texts that a value, or each item of a list, may be. `not_zero`: -1 switches them off (or means all),
    and the trainer divides by them. `lengths`: of lists. `idle`: beginnings of keys that say nothing here, and why.
    `replaced`: values that scripts bring and the trainer cannot run here -> what counts instead, and why. `plain`:
    beginnings of keys of `admin` below which numbers and switches are anybody's.
    """

    platform: Mapping[str, str]
    admin: Mapping[str, str]
    harmless: Mapping[str, frozenset[Json]] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    at_least: Mapping[str, int | float] = field(default_factory=dict)
    at_most: Mapping[str, int | float] = field(default_factory=dict)
    not_zero: frozenset[str] = frozenset()
    lengths: Mapping[str, int] = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    plain: tuple[str, ...] = ()

    def ignored(self, key: str) -> str | None:
        """Why what a recipe says of this key counts for nothing; None where it counts."""
        why = self.platform.get(key)
        return why or next((why for prefix, why in self.idle.items() if key.startswith(prefix)), None)

    def replacement(self, key: str, value: Json) -> tuple[str, str] | None:
        """What counts instead of this value of this key, and why; None where it counts itself."""
        return self.replaced.get(key, {}).get(value) if isinstance(value, str) else None

    def reserved(self, key: str, value: Json, default: Json) -> str | None:
        """Why this value of this key is an administrator's to set; None where it is anybody's.

        What holds for a key holds for all below it, and some names say the same wherever they stand.
        """
        if value == default or (isinstance(value, str) and value in self.harmless.get(key, ())):
            return None
        if key in self.admin:
            return self.admin[key]
        remote = REMOTE_CODE if _REMOTE_CODE_NAMES & {*key.split("."), *_names_in(value)} else None
        above = next((name for name in self.admin if key.startswith(f"{name}.")), None)
        if above is None or (key.startswith(self.plain) and isinstance(value, int | float) and remote is None):
            return remote
        return self.admin[above]


def _names_in(value: Json) -> Iterator[str]:
    """Of every mapping in a value, however deep."""
    if isinstance(value, Mapping):
        yield from value
        for part in value.values():
            yield from _names_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _names_in(part)


class Trainer(ABC):
    """`algorithm` and `name` are what recipes call it; `dataset_kind` is what it learns from.

    `settings` in the methods below holds every key: the recipe's value, else the trainer's default.
    """

    algorithm: ClassVar[str]
    name: ClassVar[str]
    dataset_kind: ClassVar[str]
    rules: ClassVar[Rules]
    uses_ray: ClassVar[bool] = False
    """It works through Ray: on a cluster it attaches to that, elsewhere it starts one of its own."""
    groups: ClassVar[tuple[Group, ...]]
    """What a form offers; everything else goes as YAML."""
    cpu: ClassVar[Mapping[str, Json]]
    """Without these it does not run on a CPU: there they win over the recipe."""

    fork_keeps: ClassVar[tuple[str, ...]]
    """Beginnings of settings that a run has to share with the one whose checkpoint it begins from."""
    fork_renews: ClassVar[tuple[str, ...]] = ()
    """Beginnings of settings of which another value counts only where the optimizer's state is left behind."""
    weights_alone: ClassVar[Mapping[str, Json]] = {}
    """With these a checkpoint's weights are taken and nothing else."""

    @abstractmethod
    def tree(self) -> Tree:
        """Its settings, read without importing it. Kept; not to be changed. Raises RuntimeError when not installed."""

    @abstractmethod
    def steps(self, settings: Mapping[str, Any], rows: int, processes: int) -> Steps:
        """The steps of a run over `rows` rows with `processes` trainer processes."""

    def fewest(self, settings: Mapping[str, Any]) -> int:
        """The smallest number of trainer processes that can run these settings."""
        return 1

    @abstractmethod
    def saves_checkpoint(self, settings: Mapping[str, Any]) -> bool:
        """Whether a run that ends well leaves weights."""

    @abstractmethod
    def problems(self, settings: Mapping[str, Any], dataset: DatasetRef | None, processes: int) -> Iterator[Problem]:
        """Errors that arise from several keys together."""

    @abstractmethod
    def warnings(self, settings: Mapping[str, Any]) -> Iterator[Problem]:
        """What runs, but probably not as meant."""

    @abstractmethod
    def owned(self, spec: RecipeSpec, dataset: DatasetRef, place: Place) -> dict[str, Json]:
        """The keys of `rules.platform`, filled in."""

    @abstractmethod
    def argv(self, place: Place, config_path: str) -> list[str]:
        """The command. It only names the configuration: nothing of a recipe ever stands in an argument."""
