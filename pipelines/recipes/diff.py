"""What differs between two sets of settings. Pure: settings in, rows out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from .spec import Json

Sort = Literal["added", "removed", "changed", "equal"]


@dataclass(frozen=True)
class Row:
    """One key. A side that does not name it has the trainer's default, and `*_default` says so."""

    key: str
    sort: Sort
    left: Json
    right: Json
    left_default: bool = False
    right_default: bool = False


def diff(left: Mapping[str, Json], right: Mapping[str, Json], defaults: Mapping[str, Json]) -> list[Row]:
    """Every key that either side names, in order. A key that one side names with the very value that the other has
    by default is equal: the run is the same."""
    return list(_rows(left, right, defaults))


def _rows(left: Mapping[str, Json], right: Mapping[str, Json], defaults: Mapping[str, Json]) -> Iterator[Row]:
    for key in sorted({*left, *right}):
        here, there = key in left, key in right
        before, after = left.get(key, defaults.get(key)), right.get(key, defaults.get(key))
        if same(before, after) and ((here and there) or key in defaults):
            sort: Sort = "equal"
        elif here and there:
            sort = "changed"
        else:
            sort = "removed" if here else "added"
        yield Row(key, sort, before, after, left_default=not here, right_default=not there)


def same(one: Json, other: Json) -> bool:
    """Equal as JSON: 1 and 1.0 are one number, 1 and true are not the same."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other
