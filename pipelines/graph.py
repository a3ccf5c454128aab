"""The graph of a pipeline: is it sound, in which order, and where to draw it. Pure, standard library only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

SWEEPS: Final = 8
"""Median sweeps of the crossing reduction; further ones hardly ever find anything."""
MOST_WAYPOINTS: Final = 4
"""A node: a picture with more of them would be mostly edges."""


@dataclass(frozen=True)
class Node:
    name: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """What is wrong with a node. `kind` is duplicate, unknown, self or cycle; `names` are those concerned, a cycle's
    in their order, the first one again at the end."""

    node: str
    kind: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a node stands: `layer` counts along the flow, `row` across it. Both from 0."""

    layer: int
    row: int


def faults(nodes: Sequence[Node]) -> list[Fault]:
    """Everything that keeps `nodes` from being a DAG; empty when it is one. One cycle is named, if there is any."""
    found: list[Fault] = []
    names: set[str] = set()
    for node in nodes:
        if node.name in names:
            found.append(Fault(node.name, "duplicate", (node.name,)))
        names.add(node.name)
    for node in nodes:
        for need in node.needs:
            if need == node.name:
                found.append(Fault(node.name, "self", (need,)))
            elif need not in names:
                found.append(Fault(node.name, "unknown", (need,)))
    if not any(fault.kind in ("duplicate", "self") for fault in found):
        cycle = _cycle({node.name: [need for need in node.needs if need in names] for node in nodes})
        if cycle:
            found.append(Fault(cycle[0], "cycle", tuple(cycle)))
    return found


def order(nodes: Sequence[Node]) -> list[str]:
    """Names so that each comes after all it needs, otherwise as given. Raises ValueError unless `faults` is empty."""
    wrong = faults(nodes)
    if wrong:
        raise ValueError(f"not a DAG: {wrong[0]}")
    layers = _layers(nodes)
    return [node.name for node in sorted(nodes, key=lambda node: layers[node.name])]


def below(nodes: Iterable[Node], name: str) -> set[str]:
    """Everything that needs `name`, directly or not."""
    dependants: dict[str, list[str]] = {}
    for node in nodes:
        for need in node.needs:
            dependants.setdefault(need, []).append(node.name)
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for dependant in dependants.get(waiting.pop(), []):
            if dependant not in found:
                found.add(dependant)
                waiting.append(dependant)
    return found


class Above:
    """What each node needs, directly or not. A bit for each node, so that thousands of them stay quick and small."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        """Raises ValueError unless `faults` is empty."""
        self._names = order(nodes)
        needs = {node.name: node.needs for node in nodes}
        bit = {name: 1 << at for at, name in enumerate(self._names)}
        self._above: dict[str, int] = {}
        for name in self._names:
            found = 0
            for need in needs[name]:
                found |= self._above[need] | bit[need]
            self._above[name] = found

    def of(self, name: str) -> list[str]:
        """Everything that `name` needs, in their order."""
        bits = bin(self._above[name])[:1:-1]
        return [other for other, bit in zip(self._names, bits, strict=False) if bit == "1"]


def layout(nodes: Sequence[Node]) -> dict[str, Place]:
    """A layer for each node by its longest path from a start, and rows with few crossings. Deterministic.

    Raises ValueError unless `faults` is empty.
    """
    order(nodes)
    layer_of = _layers(nodes)
    depth = max(layer_of.values(), default=-1) + 1
    layers: list[list[str]] = [[] for _ in range(depth)]
    for node in nodes:
        layers[layer_of[node.name]].append(node.name)
    needs = {node.name: list(node.needs) for node in nodes}
    wanted: dict[str, list[str]] = {node.name: [] for node in nodes}
    for node in nodes:
        for need in node.needs:
            wanted[need].append(node.name)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, needs)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        forward = sweep % 2 == 0
        neighbours = needs if forward else wanted
        for layer in layers if forward else reversed(layers):
            _by_median(layer, neighbours, _rows(layers))
        crossings = _crossings(layers, needs)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return {name: Place(index, row) for index, layer in enumerate(best) for row, name in enumerate(layer)}


def routed(nodes: Sequence[Node]) -> tuple[list[Node], dict[tuple[str, str], tuple[str, ...]]]:
    """The same graph with a node more in every layer that an edge passes over, so that `layout` keeps room for it
    there; and for each such edge (need, name) the names of those in its way. Edges of one need share theirs.

    Where they would be far more than the nodes, none is added. Raises ValueError unless `faults` is empty.
    """
    order(nodes)
    layer = _layers(nodes)
    ways = {
        (need, node.name): tuple(_waypoint(need, at) for at in range(layer[need] + 1, layer[node.name]))
        for node in nodes
        for need in dict.fromkeys(node.needs)
        if layer[node.name] > layer[need] + 1
    }
    farthest: dict[str, int] = {}
    for (need, _name), way in ways.items():
        farthest[need] = max(farthest.get(need, 0), len(way))
    if sum(farthest.values()) > MOST_WAYPOINTS * len(nodes):
        return list(nodes), {}
    found = [
        Node(node.name, tuple(ways.get((need, node.name), (need,))[-1] for need in dict.fromkeys(node.needs)))
        for node in nodes
    ]
    for need, count in farthest.items():
        names = [need, *(_waypoint(need, layer[need] + 1 + at) for at in range(count))]
        found += [Node(name, (before,)) for before, name in pairwise(names)]
    return found, ways


def _waypoint(need: str, layer: int) -> str:
    """No node's name: those that people give have no such character."""
    return f"\0{need}\0{layer}"


def _cycle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of one cycle, the first again at the end; empty when there is none. Iterative: graphs may be deep."""
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            name, at = stack.pop()
            if at == 0:
                if name in done:
                    continue
                on_path[name] = len(path)
                path.append(name)
            if at < len(needs[name]):
                stack.append((name, at + 1))
                above = needs[name][at]
                if above in on_path:
                    # The path runs from dependant to need; said aloud it reads the other way round.
                    return [*path[on_path[above] :], above][::-1]
                stack.append((above, 0))
            else:
                path.pop()
                del on_path[name]
                done.add(name)
    return []


def _layers(nodes: Sequence[Node]) -> dict[str, int]:
    """The length of the longest path to each node, by Kahn's order."""
    left = {node.name: len(set(node.needs)) for node in nodes}
    dependants: dict[str, list[str]] = {node.name: [] for node in nodes}
    for node in nodes:
        for need in set(node.needs):
            dependants[need].append(node.name)
    layer = {node.name: 0 for node in nodes}
    ready = [node.name for node in nodes if not left[node.name]]
    while ready:
        name = ready.pop()
        for dependant in dependants[name]:
            layer[dependant] = max(layer[dependant], layer[name] + 1)
            left[dependant] -= 1
            if not left[dependant]:
                ready.append(dependant)
    return layer


def _rows(layers: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: row for layer in layers for row, name in enumerate(layer)}


def _by_median(layer: list[str], neighbours: Mapping[str, Sequence[str]], rows: Mapping[str, int]) -> None:
    def median(name: str) -> float:
        found = sorted(rows[other] for other in neighbours[name])
        if not found:
            return float(rows[name])
        middle = len(found) // 2
        return float(found[middle]) if len(found) % 2 else (found[middle - 1] + found[middle]) / 2

    layer.sort(key=lambda name: (median(name), rows[name]))


def _crossings(layers: Sequence[Sequence[str]], needs: Mapping[str, Sequence[str]]) -> int:
    """Crossings of edges between neighbouring layers, by counting inversions."""
    rows = _rows(layers)
    layer_of = {name: index for index, layer in enumerate(layers) for name in layer}
    total = 0
    for index in range(1, len(layers)):
        ends = [
            rows[need]
            for name in layers[index]
            for need in sorted(needs[name], key=rows.__getitem__)
            if layer_of[need] == index - 1
        ]
        total += _inversions(ends)
    return total


def _inversions(values: Sequence[int]) -> int:
    """Pairs out of order, by a Fenwick tree: thousands of edges stay quick."""
    if not values:
        return 0
    size = max(values) + 1
    tree = [0] * (size + 1)
    found = 0
    for seen, value in enumerate(values):
        at, smaller_or_equal = value + 1, 0
        while at:
            smaller_or_equal += tree[at]
            at -= at & -at
        found += seen - smaller_or_equal
        at = value + 1
        while at <= size:
            tree[at] += 1
            at += at & -at
    return found
