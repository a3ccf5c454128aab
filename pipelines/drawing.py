"""Where the parts of a pipeline's pictures stand: the graph and the time line. Pure; the templates do the SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Final

from .graph import Node, faults, layout, routed

BOX_WIDTH: Final = 184
BOX_HEIGHT: Final = 52
GAP_X: Final = 56
GAP_Y: Final = 20
MARGIN: Final = 8
BELOW: Final = 28
"""Room for the edges that lead back."""
MOST_REPAIRS: Final = 40
"""Edges of cycles taken out one by one; a graph with more of them is drawn without any edge."""


@dataclass(frozen=True)
class Box:
    """The upper left corner of a node, in pixels."""

    name: str
    x: int
    y: int


@dataclass(frozen=True)
class Edge:
    """`path` for an SVG path. `broken`: it closes a cycle, so it cannot be as it is."""

    source: str
    target: str
    path: str
    broken: bool = False


@dataclass(frozen=True)
class Drawing:
    width: int
    height: int
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


@lru_cache(maxsize=64)
def draw(nodes: tuple[Node, ...], height: int = BOX_HEIGHT) -> Drawing:
    """Boxes `height` pixels high, in layers from left to right, each centred. Names must differ; needs that nobody
    fills are left out, and those that close a cycle are drawn as broken. Cached: a graph does not change while its
    stages run."""
    sound, broken = _sound(nodes)
    shown, ways = routed(sound)
    places = layout(shown)
    tallest = max((place.row for place in places.values()), default=0) + 1
    rows_in: dict[int, int] = {}
    for place in places.values():
        rows_in[place.layer] = max(rows_in.get(place.layer, 0), place.row + 1)
    pitch = height + GAP_Y
    boxes = {
        name: Box(
            name,
            MARGIN + place.layer * (BOX_WIDTH + GAP_X),
            MARGIN + place.row * pitch + (tallest - rows_in[place.layer]) * pitch // 2,
        )
        for name, place in places.items()
    }
    edges = []
    for node in sound:
        for need in dict.fromkeys(node.needs):
            way = (need, *ways.get((need, node.name), ()), node.name)
            edges.append(Edge(need, node.name, _path([boxes[name] for name in way], height)))
    edges += [Edge(need, name, _way_back(boxes[need], boxes[name], height), broken=True) for need, name in broken]
    return Drawing(
        width=max((box.x for box in boxes.values()), default=0) + BOX_WIDTH + MARGIN,
        height=max((box.y for box in boxes.values()), default=0) + height + MARGIN + (BELOW if broken else 0),
        boxes=tuple(boxes[node.name] for node in nodes),
        edges=tuple(edges),
    )


def _sound(nodes: Sequence[Node]) -> tuple[list[Node], list[tuple[str, str]]]:
    """The nodes without the edges that make no graph, and the edges that close cycles as (need, node)."""
    names = {node.name for node in nodes}
    needs = {node.name: [need for need in node.needs if need in names and need != node.name] for node in nodes}
    broken: list[tuple[str, str]] = []
    for _repair in range(MOST_REPAIRS):
        left = [Node(name, tuple(found)) for name, found in needs.items()]
        cycle = next((fault.names for fault in faults(left) if fault.kind == "cycle"), None)
        if cycle is None:
            return left, broken
        # The names run along the flow: the last one is needed by none but the first.
        need, name = cycle[-2], cycle[-1]
        needs[name] = [other for other in needs[name] if other != need]
        broken.append((need, name))
    return [Node(name) for name in needs], []


def _path(boxes: Sequence[Box], height: int) -> str:
    """From the first box to the last, straight through the room that is kept for it in the layers between."""
    path = f"M{boxes[0].x + BOX_WIDTH} {boxes[0].y + height // 2}"
    for source, target in pairwise(boxes):
        x1, y1 = source.x + BOX_WIDTH, source.y + height // 2
        x2, y2 = target.x - (7 if target is boxes[-1] else 0), target.y + height // 2
        bend = max(GAP_X // 2, (x2 - x1) // 2)
        path += f"C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
        if target is not boxes[-1]:
            path += f"H{x2 + BOX_WIDTH}"
    return path


def _way_back(source: Box, target: Box, height: int) -> str:
    """Below the nodes, so that it does not hide the edges that lead forward."""
    x1, x2 = source.x + BOX_WIDTH // 2, target.x + BOX_WIDTH // 2
    y1, y2 = source.y + height, target.y + height + 7
    return f"M{x1} {y1}C{x1} {y1 + BELOW} {x2} {y2 + BELOW} {x2} {y2}"


@dataclass(frozen=True)
class Span:
    """A stretch of time, and the status it is drawn as."""

    begin: datetime
    end: datetime
    shape: str


@dataclass(frozen=True)
class Bar:
    """Per cent of the time line's width."""

    x: float
    width: float
    shape: str


def bars(spans: Sequence[Span], begin: datetime, end: datetime) -> list[Bar]:
    """Where the spans stand between `begin` and `end`. The shortest can still be seen."""
    whole = max((end - begin).total_seconds(), 1e-3)
    found = []
    for span in spans:
        x = min(99.5, max(0.0, (span.begin - begin).total_seconds() / whole * 100))
        width = max(0.5, (span.end - span.begin).total_seconds() / whole * 100)
        found.append(Bar(round(x, 2), round(min(width, 100 - x), 2), span.shape))
    return found
