"""The pictures of a pipeline: nothing overlaps, edges lead from left to right, a cycle is shown and not hidden."""

import itertools
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


@settings(max_examples=60, deadline=None)
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
