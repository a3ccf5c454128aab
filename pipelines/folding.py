"""A graph of many nodes as one of few: nodes that stand alike are drawn as one. Pure, standard library only.

What is folded depends on the graph alone and not on what its stages do: a picture keeps its shape while it is live.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .graph import Node, order

MOST_NODES: Final = 60
"""A graph of more nodes is folded, to at most so many."""

Labels = dict[str, Hashable]
"""Nodes of one label are one."""


@dataclass(frozen=True)
class Fold:
    """`names` of the nodes drawn as one, in order; the first of them names the fold. `needs` are other folds."""

    names: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0]


@lru_cache(maxsize=64)
def fold(nodes: tuple[Node, ...], kinds: tuple[str, ...], most: int = MOST_NODES) -> tuple[Fold, ...]:
    """Each node in one fold, and the folds a DAG again. `kinds` are those of the nodes: few of them share a fold as
    long as that will do. Raises ValueError unless `nodes` are a DAG.

    Tried in turn, until at most `most` are left: what stands alike; chains of one kind; all chains; whatever is of one
    kind and equally deep; whatever is about equally deep.
    """
    labels: Labels = {node.name: node.name for node in nodes}
    if len(nodes) > most:
        labels = next(found for found in _coarser(nodes, kinds, most) if len(set(found.values())) <= most)
    return tuple(_folds(nodes, labels))


def _coarser(nodes: Sequence[Node], kinds: Sequence[str], most: int) -> Iterator[Labels]:
    """Ever fewer labels; the last ones are at most `most`."""
    kind_of = {node.name: kind for node, kind in zip(nodes, kinds, strict=True)}
    sorted_names = order(nodes)
    labels = _alike(nodes, sorted_names, kind_of)
    yield labels
    labels = _chained(nodes, sorted_names, labels, kind_of)
    yield labels
    yield _chained(nodes, sorted_names, labels, dict.fromkeys(kind_of, ""))
    depths = _depths(nodes, sorted_names)
    yield {name: (depth, kind_of[name]) for name, depth in depths.items()}
    deepest = max(depths.values()) + 1
    yield {name: depth * most // max(most, deepest) for name, depth in depths.items()}


def _alike(nodes: Sequence[Node], sorted_names: Sequence[str], kind_of: Mapping[str, str]) -> Labels:
    """The same kind, all that leads there looks the same, and all that follows too: the lanes of a fan-out share a
    fold at each of their steps, however many steps they have. Two passes over the edges."""
    needs = {node.name: node.needs for node in nodes}
    wanted = _dependants(nodes)
    numbers: dict[Hashable, int] = {}
    before: dict[str, int] = {}
    for name in sorted_names:
        sight = ("before", kind_of[name], frozenset(before[need] for need in needs[name]))
        before[name] = numbers.setdefault(sight, len(numbers))
    after: dict[str, int] = {}
    for name in reversed(sorted_names):
        sight = ("after", kind_of[name], frozenset(after[other] for other in wanted[name]))
        after[name] = numbers.setdefault(sight, len(numbers))
    return {name: (before[name], after[name]) for name in sorted_names}


def _chained(nodes: Sequence[Node], sorted_names: Sequence[str], labels: Labels, kind_of: Mapping[str, str]) -> Labels:
    """Folds that follow one another with nothing beside become one, where they are of one kind. What fans out
    or in stays: the folds of a chain have the same number of nodes."""
    folds = {labels[found.name]: found for found in _folds(nodes, labels)}
    wanted: dict[str, list[str]] = {found.name: [] for found in folds.values()}
    for found in folds.values():
        for need in found.needs:
            wanted[need].append(found.name)
    by_name = {found.name: found for found in folds.values()}
    head: dict[str, str] = {}
    for name in sorted_names:
        here = folds[labels[name]]
        if here.name in head:
            continue
        head[here.name] = here.name
        if len(here.needs) == 1:
            above = by_name[here.needs[0]]
            alone = wanted[above.name] == [here.name] and len(above.names) == len(here.names)
            if alone and kind_of[above.name] == kind_of[here.name]:
                head[here.name] = head[above.name]
    return {name: head[folds[labels[name]].name] for name in labels}


def _folds(nodes: Sequence[Node], labels: Labels) -> list[Fold]:
    """In the order in which their first nodes are given."""
    names: dict[Hashable, list[str]] = {}
    needs: dict[Hashable, dict[Hashable, None]] = {}
    for node in nodes:
        label = labels[node.name]
        names.setdefault(label, []).append(node.name)
        for need in node.needs:
            if labels[need] != label:
                needs.setdefault(label, {})[labels[need]] = None
    return [
        Fold(tuple(found), tuple(names[need][0] for need in needs.get(label, ()))) for label, found in names.items()
    ]


def _depths(nodes: Sequence[Node], sorted_names: Sequence[str]) -> dict[str, int]:
    needs = {node.name: node.needs for node in nodes}
    found: dict[str, int] = {}
    for name in sorted_names:
        found[name] = max((found[need] + 1 for need in needs[name]), default=0)
    return found


def _dependants(nodes: Sequence[Node]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {node.name: [] for node in nodes}
    for node in nodes:
        for need in node.needs:
            found[need].append(node.name)
    return found
