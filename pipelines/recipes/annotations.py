"""What verl's configuration classes say about their fields, read from their source without running it.

The Hydra tree alone tells neither the type of a key that is null by default nor the keys that a class takes but
the tree leaves out (`engine.mixed_precision`). The classes that the tree's `_target_`s name tell both. They are
parsed, never imported: importing verl would import torch.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

_SCALARS: Final = {"int": "integer", "float": "number", "str": "string", "bool": "boolean", "Any": "any"}
_ARRAYS: Final = frozenset({"list", "List", "tuple", "Tuple", "Sequence", "set"})
_OBJECTS: Final = frozenset({"dict", "Dict", "Mapping", "DictConfig"})


@dataclass(frozen=True)
class Field:
    """A field of a configuration class. `default` is None where it is computed or missing.

    verl overwrites a `runtime` field while it runs (`_mutable_fields`). `items`: types of what a list holds, if said.
    """

    name: str
    type: str
    default: str | int | float | bool | None
    runtime: bool = False
    items: str = ""


def types_of(annotation: ast.expr) -> frozenset[str] | None:
    """The JSON types an annotation stands for, or None for one that JSON has no value for (another class)."""
    match annotation:
        case ast.Constant(value=None):
            return frozenset({"null"})
        case ast.Constant(value=str(text)):
            return types_of(ast.parse(text, mode="eval").body)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return _named(name)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(left, right)
        case ast.Subscript(value=ast.Name(id="Optional") | ast.Attribute(attr="Optional"), slice=inner):
            return _union(inner, ast.Constant(value=None))
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=members)):
            return _union(*members)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _union(*(_kind(value) for value in values))
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return _named(name)
    return None


def items_of(annotation: ast.expr) -> frozenset[str]:
    """The JSON types of what the lists of an annotation hold; empty where it says nothing, or anything goes."""
    found: set[str] = set()
    for node in ast.walk(annotation):
        match node:
            case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner) if name in _ARRAYS:
                for member in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                    found |= types_of(member) or set()
    return frozenset() if "any" in found else frozenset(found)


def _kind(value: ast.expr) -> ast.expr:
    """The annotation a literal's type would have: `Literal["a"]` is text."""
    if isinstance(value, ast.Constant) and value.value is not None:
        return ast.Name(id=type(value.value).__name__)
    return value


def _named(name: str) -> frozenset[str] | None:
    if name in _SCALARS:
        return frozenset({_SCALARS[name]})
    if name in _ARRAYS:
        return frozenset({"array"})
    if name in _OBJECTS:
        return frozenset({"object"})
    return None


def _union(*members: ast.expr) -> frozenset[str] | None:
    found: set[str] = set()
    for member in members:
        types = types_of(member)
        if types is None:
            return None
        found |= types
    return frozenset(found)


def fields_of(package: Path, target: str) -> dict[str, Field]:
    """The fields of the class that `_target_` names, inherited ones included; empty if it is not found.

    `package` is verl's folder. Fields that JSON has no value for (other classes) are left out.
    """
    module, _, name = target.rpartition(".")
    classes = _classes(package, module)
    fields: dict[str, Field] = {}
    runtime: set[str] = set()
    for node in _lineage(classes, name):
        for statement in node.body:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=field_name), annotation=annotation, value=value):
                    types = types_of(annotation)
                    if types is not None and not field_name.startswith("_"):
                        fields[field_name] = Field(
                            field_name,
                            "|".join(sorted(types)),
                            _literal(value),
                            items="|".join(sorted(items_of(annotation))),
                        )
                case ast.Assign(targets=[ast.Name(id="_mutable_fields")], value=value):
                    runtime |= {
                        part.value
                        for part in ast.walk(value)
                        if isinstance(part, ast.Constant) and isinstance(part.value, str)
                    }
    return {key: replace(field, runtime=key in runtime) for key, field in fields.items()}


def _literal(value: ast.expr | None) -> str | int | float | bool | None:
    if isinstance(value, ast.Constant) and isinstance(value.value, str | int | float):
        return value.value
    return None


def _lineage(classes: dict[str, ast.ClassDef], name: str) -> Iterator[ast.ClassDef]:
    """The class and its bases that are known here, bases first."""
    node = classes.get(name)
    if node is None:
        return
    for base in node.bases:
        if isinstance(base, ast.Name):
            yield from _lineage(classes, base.id)
    yield node


@cache
def _classes(package: Path, module: str) -> dict[str, ast.ClassDef]:
    """Every class of a module, or of all files of a package, by name."""
    folder = package.parent.joinpath(*module.split("."))
    files = sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    found: dict[str, ast.ClassDef] = {}
    for file in files:
        if not file.is_file():
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, node)
    return found
