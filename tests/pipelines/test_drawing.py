"""The pictures of a pipeline: nothing overlaps, edges lead from left to right, a cycle is shown and not hidden."""

import itertools
import re
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.drawing import BOX_HEIGHT, BOX_WIDTH, Span, bars, draw
from pipelines.graph import Node

AT = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def anything(draw_from: st.DrawFn) -> tuple[Node, ...]:
    """Any needs at all: cycles, itself, names that are not there."""
    size = draw_from(st.integers(1, 12))
    needs = st.lists(st.integers(0, size).map(str), max_size=4)
    return tuple(Node(str(n), tuple(draw_from(needs))) for n in range(size))


@settings(max_examples=60)
@given(anything())
def test_whatever_was_typed_is_drawn_without_overlap(nodes: tuple[Node, ...]) -> None:
    drawing = draw(nodes)
    assert [box.name for box in drawing.boxes] == [node.name for node in nodes]
    assert len({(box.x, box.y) for box in drawing.boxes}) == len(nodes)
    by_column: dict[int, list[int]] = {}
    for box in drawing.boxes:
        by_column.setdefault(box.x, []).append(box.y)
        assert 0 <= box.x <= drawing.width - BOX_WIDTH
        assert 0 <= box.y <= drawing.height - BOX_HEIGHT
    for column in by_column.values():
        rows = sorted(column)
        assert all(lower - upper > BOX_HEIGHT for upper, lower in itertools.pairwise(rows))
    at = {box.name: box for box in drawing.boxes}
    assert all(at[edge.source].x < at[edge.target].x for edge in drawing.edges if not edge.broken)


def passes(path: str) -> list[tuple[float, float]]:
    """Points of an edge: the ends of its curves and lines, and the middles of its lines."""
    x = y = 0.0
    found = []
    for kind, numbers in re.findall(r"([MCH])([-\d. ]+)", path):
        values = [float(number) for number in numbers.split()]
        if kind == "H":
            found.append(((x + values[0]) / 2, y))
            x = values[0]
        else:
            x, y = values[-2:]
        found.append((x, y))
    return found


@settings(max_examples=100)
@given(anything())
def test_no_edge_runs_through_a_node(nodes: tuple[Node, ...]) -> None:
    drawing = draw(nodes)
    for edge in drawing.edges:
        for x, y in passes(edge.path) if not edge.broken else ():
            inside = [
                box.name for box in drawing.boxes if box.x < x < box.x + BOX_WIDTH and box.y <= y <= box.y + BOX_HEIGHT
            ]
            assert inside == [], (edge, x, y)


def test_an_edge_over_several_layers_keeps_its_own_row() -> None:
    chain = (Node("a"), Node("b", ("a",)), Node("c", ("b",)), Node("d", ("c", "a")))
    drawing = draw(chain)
    long = next(edge for edge in drawing.edges if (edge.source, edge.target) == ("a", "d"))
    assert long.path.count("H") == 2
    assert drawing.height > draw(chain[:3]).height


def test_a_graph_that_would_be_mostly_edges_is_drawn_without_room_for_them() -> None:
    nodes = tuple(Node(str(n), tuple(str(m) for m in range(n))) for n in range(60))
    assert draw(nodes).height == draw(nodes[:1]).height


def test_an_edge_that_closes_a_cycle_is_broken_and_the_others_stay() -> None:
    drawing = draw((Node("a", ("c",)), Node("b", ("a",)), Node("c", ("b",))))
    assert len(drawing.edges) == 3
    assert sum(edge.broken for edge in drawing.edges) == 1


def test_bars_stand_in_proportion_and_the_shortest_is_seen() -> None:
    def span(begin: float, end: float) -> Span:
        return Span(AT + timedelta(seconds=begin), AT + timedelta(seconds=end), "completed")

    half, tiny, last = bars([span(0, 50), span(50, 50.001), span(100, 100)], AT, AT + timedelta(seconds=100))
    assert (half.x, half.width) == (0, 50)
    assert tiny.width == 0.5
    assert last.x + last.width <= 100
