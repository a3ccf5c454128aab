"""Any graph: sound or its fault named, every stage after what it needs, every node at a place of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph import Above, Node, below, faults, layout, order

NAMES = [f"stage-{number}" for number in range(12)]


@st.composite
def dags(draw: st.DrawFn) -> list[Node]:
    """Nodes that need only earlier ones, then shuffled."""
    count = draw(st.integers(0, len(NAMES)))
    nodes = [
        Node(NAMES[number], tuple(draw(st.lists(st.sampled_from(NAMES[:number]), unique=True)) if number else ()))
        for number in range(count)
    ]
    return draw(st.permutations(nodes))


@st.composite
def any_graphs(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 8))
    names = st.sampled_from([*NAMES[:count], "nobody"])
    return [Node(NAMES[number], tuple(draw(st.lists(names, max_size=4)))) for number in range(count)]


@given(dags())
def test_a_dag_has_no_fault_and_an_order_that_keeps_its_needs(nodes: list[Node]) -> None:
    assert faults(nodes) == []
    at = {name: index for index, name in enumerate(order(nodes))}
    assert len(at) == len(nodes)
    assert all(at[need] < at[node.name] for node in nodes for need in node.needs)


@given(any_graphs())
def test_what_is_called_a_cycle_is_one_and_nothing_else_goes_unnoticed(nodes: list[Node]) -> None:
    needs = {node.name: set(node.needs) for node in nodes}
    found = faults(nodes)
    for fault in found:
        if fault.kind == "cycle":
            assert fault.names[0] == fault.names[-1]
            assert all(above in needs[below_] for above, below_ in zip(fault.names, fault.names[1:], strict=False))
        elif fault.kind == "unknown":
            assert fault.names[0] not in needs
    if not found:
        order(nodes)
    else:
        with pytest.raises(ValueError, match="not a DAG"):
            order(nodes)


@given(dags())
def test_a_drawing_has_a_place_for_each_and_flows_one_way(nodes: list[Node]) -> None:
    places = layout(nodes)
    assert len(set(places.values())) == len(nodes) == len(places)
    assert all(places[need].layer < places[node.name].layer for node in nodes for need in node.needs)
    assert places == layout(nodes)


def test_faults_are_named() -> None:
    assert [(f.kind, f.names) for f in faults([Node("a"), Node("a")])] == [("duplicate", ("a",))]
    assert [(f.kind, f.names) for f in faults([Node("a", ("a",))])] == [("self", ("a",))]
    assert [(f.kind, f.names) for f in faults([Node("a", ("x",))])] == [("unknown", ("x",))]
    assert [(f.kind, f.names) for f in faults([Node("a", ("c",)), Node("b", ("a",)), Node("c", ("b",))])] == [
        ("cycle", ("a", "b", "c", "a"))
    ]


def test_a_chain_of_thousands_neither_recurses_nor_crawls() -> None:
    chain = [Node(str(number), (str(number - 1),) if number else ()) for number in range(5000)]
    assert order(list(reversed(chain))) == [str(number) for number in range(5000)]
    assert faults([Node("0", ("4999",)), *chain[1:]])[0].kind == "cycle"


def test_what_lies_below_a_stage() -> None:
    nodes = [Node("a"), Node("b", ("a",)), Node("c", ("b",)), Node("d")]
    assert below(nodes, "a") == {"b", "c"}
    assert below(nodes, "d") == set()


@given(dags())
def test_what_stands_above_a_stage_is_what_it_stands_below(nodes: list[Node]) -> None:
    above = Above(nodes)
    for node in nodes:
        needed = {other.name for other in nodes if node.name in below(nodes, other.name)}
        assert set(above.of(node.name)) == needed


def test_lines_that_cross_are_untangled() -> None:
    # a needs 2 and b needs 1: drawn in the order given their lines would cross.
    places = layout([Node("1"), Node("2"), Node("a", ("2",)), Node("b", ("1",))])
    assert (places["1"].row < places["2"].row) == (places["b"].row < places["a"].row)
