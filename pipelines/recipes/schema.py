"""The trainer's own configuration tree: which keys there are, of which type, with which default.

Read with Hydra from the YAML files inside the installed verl wheel. Neither verl nor torch is imported: the
wheel is found by its import spec, and the classes named in the tree are parsed as text.
"""

import copy
import importlib.util
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from . import annotations
from .spec import SFT, VERL, Json, Leaf

_TREES: Final = {(SFT, VERL): "sft_trainer_engine"}
"""(algorithm, trainer) -> the root of its tree in verl's `trainer/config`."""

_TYPES: Final = {
    # verl/trainer/sft_trainer.py compares both with "after_each_epoch", and counts steps up to the third.
    "trainer.save_freq": "integer|string",
    "trainer.test_freq": "integer|string",
    "trainer.total_training_steps": "integer|null",
    # verl/utils/checkpoint/checkpoint_manager.py: "max_ckpt_to_keep and isinstance(max_ckpt_to_keep, int)".
    "trainer.max_ckpt_to_keep": "integer|null",
    "trainer.default_hdfs_dir": "null|string",
    "trainer.resume_from_path": "null|string",
    # verl/utils/dataset/multiturn_sft_dataset.py takes one file or a list of them.
    "data.train_files": "array|string",
    "data.val_files": "array|null|string",
    "data.custom_cls.path": "null|string",
    "data.custom_cls.name": "null|string",
    # verl/workers/config/model.py: "allow both 'all-linear' and ['q_proj', 'k_proj']"; peft takes lists.
    "model.target_modules": "array|null|string",
    "model.exclude_modules": "array|null|string",
    "model.external_lib": "array|null|string",
    "model.lora.dtype": "null|string",
    "model.lora.adapter_path": "null|string",
}
"""Types known from verl's code, where neither the default nor a class of the tree tells them all."""

_lock = threading.Lock()


class UnknownTrainerError(LookupError):
    """No tree is known for this algorithm and trainer."""


@dataclass(frozen=True)
class Tree:
    """A composed tree: the plain container with its interpolations unresolved, and its leaves."""

    raw: dict[str, Any]
    leaves: Mapping[str, Leaf]


def supported() -> tuple[tuple[str, str], ...]:
    """The (algorithm, trainer) pairs that can be checked and compiled."""
    return tuple(_TREES)


def leaves(algorithm: str, trainer: str) -> Mapping[str, Leaf]:
    """Every key of the tree by its dotted name.

    Raises UnknownTrainerError, and RuntimeError when the verl wheel is not installed.
    """
    return _tree(algorithm, trainer).leaves


def raw_tree(algorithm: str, trainer: str) -> dict[str, Any]:
    """A copy of the whole tree with `${…}` as verl wrote them."""
    return copy.deepcopy(_tree(algorithm, trainer).raw)


def verl_folder() -> Path:
    """Where the verl wheel is installed."""
    spec = importlib.util.find_spec("verl")
    if spec is None or spec.origin is None:
        raise RuntimeError("The verl wheel is not installed in the manager's environment.")
    return Path(spec.origin).parent


def _tree(algorithm: str, trainer: str) -> Tree:
    if (algorithm, trainer) not in _TREES:
        raise UnknownTrainerError(f"{algorithm} with {trainer}")
    # Hydra keeps its state in a process-wide singleton: two threads must not compose at a time.
    with _lock:
        return _read(_TREES[algorithm, trainer])


@cache
def _read(name: str) -> Tree:
    package = verl_folder()
    with initialize_config_dir(config_dir=str(package / "trainer" / "config"), version_base=None):
        config = compose(config_name=name)
    raw = OmegaConf.to_container(config, resolve=False)
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    if not isinstance(raw, dict) or not isinstance(resolved, dict):
        raise RuntimeError(f"verl's configuration {name} is not a tree.")
    found = {leaf.key: leaf for leaf in _walk(package, resolved, "")}
    return Tree(raw=raw, leaves=MappingProxyType(found))  # type: ignore[arg-type]  # keys of a YAML tree are text


def _walk(package: Path, node: dict[Any, Any], prefix: str) -> Iterator[Leaf]:
    target = node.get("_target_")
    declared = annotations.fields_of(package, target) if isinstance(target, str) else {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        if name == "_target_":
            continue
        if isinstance(value, dict) and value:
            yield from _walk(package, value, f"{key}.")
        else:
            yield _leaf(key, value, declared.get(name))
    for name, field in declared.items():
        if name not in node and not field.runtime:
            yield _leaf(f"{prefix}{name}", field.default, field)


def _leaf(key: str, default: Json, declared: annotations.Field | None) -> Leaf:
    types = set(_TYPES[key].split("|")) if key in _TYPES else _guessed(default, declared)
    return Leaf(key=key, type="|".join(sorted(types)), default=default, open="object" in types)


def _guessed(default: Json, declared: annotations.Field | None) -> set[str]:
    """From the default's own type and what the class says; `any` where neither says anything."""
    types: set[str] = set() if default == "???" else {json_type(default)}
    if declared is not None:
        types |= set(declared.type.split("|"))
    if types <= {"null"} or "any" in types:
        return {"any"}
    if "number" in types:
        types.discard("integer")
    return types


def json_type(value: object) -> str:
    """The JSON type of a value; an integer is told from other numbers."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case list() | tuple():
            return "array"
    raise TypeError(f"{type(value).__name__} is not a JSON type")
