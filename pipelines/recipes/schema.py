"""verl's own configuration trees: which keys there are, of which type, with which default.

Read with Hydra from the YAML files inside the installed verl wheel. Neither verl nor torch is imported: the
wheel is found by its import spec, and the classes named in the tree are parsed as text.
"""

import importlib.util
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from . import annotations
from .spec import Json, Leaf, Tree

_lock = threading.Lock()


def verl_folder() -> Path:
    """Where the verl wheel is installed."""
    spec = importlib.util.find_spec("verl")
    if spec is None or spec.origin is None:
        raise RuntimeError("The verl wheel is not installed in the manager's environment.")
    return Path(spec.origin).parent


def hydra_tree(name: str, types: Mapping[str, str]) -> Tree:
    """The tree whose root is `name` in verl's `trainer/config`. Takes a second: to be kept.

    `types` are those known from verl's code, where neither the default nor a class of the tree tells them all.
    Raises RuntimeError when the verl wheel is not installed.
    """
    package = verl_folder()
    # Hydra keeps its state in a process-wide singleton: two threads must not compose at a time.
    with _lock, initialize_config_dir(config_dir=str(package / "trainer" / "config"), version_base=None):
        config = compose(config_name=name)
    raw = OmegaConf.to_container(config, resolve=False)
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    if not isinstance(raw, dict) or not isinstance(resolved, dict):
        raise RuntimeError(f"verl's configuration {name} is not a tree.")
    found = {leaf.key: leaf for leaf in _walk(package, resolved, "", types)}
    return Tree(raw=raw, leaves=MappingProxyType(found))  # type: ignore[arg-type]  # keys of a YAML tree are text


def _walk(package: Path, node: dict[Any, Any], prefix: str, types: Mapping[str, str]) -> Iterator[Leaf]:
    target = node.get("_target_")
    declared = annotations.fields_of(package, target) if isinstance(target, str) else {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        if name == "_target_":
            continue
        if isinstance(value, dict) and value:
            yield from _walk(package, value, f"{key}.", types)
        else:
            yield leaf(key, value, declared.get(name), types)
    for name, field in declared.items():
        if name not in node and not field.runtime:
            yield leaf(f"{prefix}{name}", field.default, field, types)


def leaf(key: str, default: Json, declared: annotations.Field | None, types: Mapping[str, str]) -> Leaf:
    """One key of a tree: what is known of it from code, else what its class and its default say."""
    found = set(types[key].split("|")) if key in types else _guessed(default, declared)
    items = declared.items if declared is not None and key not in types else ""
    return Leaf(key=key, type="|".join(sorted(found)), default=default, open="object" in found, items=items)


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
