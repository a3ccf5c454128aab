"""The values that recipes are checked and compiled with. Frozen, and free of Django."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
"""A JSON value. In a recipe every one of them is a literal: nothing is substituted or evaluated."""

SFT: Final = "sft"
DPO: Final = "dpo"
GRPO: Final = "grpo"
PREFERENCE: Final = "preference"
EVAL: Final = "eval"
VERL: Final = "verl"
TRL: Final = "trl"


def gettext_noop(text: str) -> str:
    """Marks a sentence for the message catalogue. The layers that know a language translate it."""
    return text


@dataclass(frozen=True)
class Leaf:
    """One key of the trainer's configuration tree.

    `type` is one or more of boolean, integer, number, string, array, object, null and any, joined by `|`.
    An `open` leaf takes keys below it that the trainer does not list (`model.override_config.num_layers`).
    `items`: types of what its lists hold, where the trainer says; else it is what the default list holds.
    """

    key: str
    type: str
    default: Json
    open: bool = False
    items: str = ""

    @property
    def types(self) -> frozenset[str]:
        return frozenset(self.type.split("|"))


@dataclass(frozen=True)
class Tree:
    """A trainer's settings: the plain container with its interpolations unresolved, and its leaves by dotted name."""

    raw: dict[str, Any]
    leaves: Mapping[str, Leaf]


@dataclass(frozen=True)
class RecipeSpec:
    """What to train and how: one revision of a recipe, overrides included."""

    slug: str
    algorithm: str
    trainer: str
    base_model: str
    params: Mapping[str, Json] = field(default_factory=dict)

    def merged(self, overrides: Mapping[str, Json] | None) -> "RecipeSpec":
        """The same recipe with `overrides` on top. One that names a whole subtree replaces all that stood below."""
        if not overrides:
            return self
        groups = tuple(f"{key}." for key in overrides)
        kept = {key: value for key, value in self.params.items() if not key.startswith(groups)}
        return replace(self, params={**kept, **overrides})


@dataclass(frozen=True)
class DatasetRef:
    """A dataset version as the trainer will find it. `path` is absolute, on the host."""

    path: str
    rows: int
    kind: str
    sha256: str


@dataclass(frozen=True)
class Place:
    """Where an attempt runs. All paths are absolute and on the host.

    `gpus` counts those the run gets (0 without CUDA); which ones, the launcher says. `resume_from` is the folder of a
    checkpoint, or None.
    `models_folder` keeps the built-in models that take long to make, for all runs of the host.
    """

    python: str
    runtime_path: str
    models_folder: str
    attempt_folder: str
    checkpoint_folder: str
    uuid: str
    cuda: bool = False
    gpus: int = 0
    resume_from: str | None = None
    cpu_threads: int = 2

    @property
    def processes(self) -> int:
        """Trainer processes: one a GPU, or a single one on CPU."""
        return self.gpus if self.cuda and self.gpus > 0 else 1


@dataclass(frozen=True)
class Problem:
    """Something wrong with one key (or with `base_model`, `algorithm`, `dataset`).

    `template` is the untranslated sentence and `values` fill it, so that it can be told in any language.
    """

    key: str
    template: str
    values: Mapping[str, object] = field(default_factory=dict)
    suggestion: str | None = None

    @property
    def message(self) -> str:
        """The sentence in English."""
        return self.template % self.values if self.values else self.template


@dataclass(frozen=True)
class Checked:
    """What a check found. Errors forbid the run; warnings do not."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def valid(self) -> bool:
        return not self.errors


@dataclass(frozen=True)
class Compiled:
    """A recipe made ready for one attempt.

    `adjusted` names the recipe's own values that this place could not take: key -> (asked, used).
    """

    argv: list[str]
    env: dict[str, str]
    config: dict[str, Json]
    config_yaml: str
    target_step: int | None
    checkpoint_required: bool
    adjusted: Mapping[str, tuple[Json, Json]] = field(default_factory=dict)


class RecipeError(ValueError):
    """A recipe that cannot be compiled. Carries the problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{problem.key}: {problem.message}" for problem in problems))
        self.problems = tuple(problems)
