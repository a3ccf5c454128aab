"""A graph of many stages is folded: nothing is lost or doubled, and what stands alike stands together."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.drawing import draw
from pipelines.folding import MOST_NODES, Fold, fold
from pipelines.graph import Node, faults


@st.composite
def graphs(draw_from: st.DrawFn) -> tuple[tuple[Node, ...], tuple[str, ...], int]:
    """Nodes that need only earlier ones, in any order; their kinds; at most how many may be left."""
    count = draw_from(st.integers(0, 24))
    names = [f"s{number:02}" for number in range(count)]
    nodes = [
        Node(name, tuple(draw_from(st.lists(st.sampled_from(names[:at]), max_size=3))) if at else ())
        for at, name in enumerate(names)
    ]
    kinds = draw_from(st.lists(st.sampled_from(["train", "noop"]), min_size=count, max_size=count))
    return tuple(draw_from(st.permutations(nodes))), tuple(kinds), draw_from(st.integers(1, 10))


@settings(max_examples=300)
@given(graphs())
def test_any_graph_becomes_a_small_dag_of_the_same_nodes_and_edges(
    graph: tuple[tuple[Node, ...], tuple[str, ...], int],
) -> None:
    nodes, kinds, most = graph
    folds = fold(nodes, kinds, most)
    inside = {name: found.name for found in folds for name in found.names}
    assert sorted(name for found in folds for name in found.names) == sorted(node.name for node in nodes)
    assert len(folds) <= most
    assert faults([Node(found.name, found.needs) for found in folds]) == []
    edges = {(inside[need], inside[node.name]) for node in nodes for need in node.needs}
    assert {(need, found.name) for found in folds for need in found.needs} == {(a, b) for a, b in edges if a != b}
    if len(nodes) <= most:
        assert all(len(found.names) == 1 for found in folds)


def named(folds: tuple[Fold, ...]) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(len(found.names), found.name, found.needs) for found in folds]


def nodes_of(needs: dict[str, list[str]]) -> tuple[Node, ...]:
    return tuple(Node(name, tuple(above)) for name, above in needs.items())


def test_a_fan_of_two_hundred_is_three_nodes() -> None:
    lanes = [f"s{n}" for n in range(198)]
    nodes = nodes_of({"first": [], **{name: ["first"] for name in lanes}, "last": lanes})
    assert named(fold(nodes, ("noop",) * 200)) == [(1, "first", ()), (198, "s0", ("first",)), (1, "last", ("s0",))]


def test_a_sweep_is_folded_step_by_step_and_the_odd_lane_stands_beside() -> None:
    needs: dict[str, list[str]] = {"data": []}
    kinds = ["preprocess"]
    for n in range(40):
        needs |= {f"train-{n}": ["data"], f"score-{n}": [f"train-{n}"]}
        kinds += ["train", "score"]
    needs |= {"odd": ["data"], "odd-score": ["odd"], "odd-again": ["odd-score"]}
    kinds += ["train", "score", "score"]
    assert named(fold(nodes_of(needs), tuple(kinds))) == [
        (1, "data", ()), (40, "train-0", ("data",)), (40, "score-0", ("train-0",)),
        (1, "odd", ("data",)), (1, "odd-score", ("odd",)), (1, "odd-again", ("odd-score",)),
    ]  # fmt: skip


def test_a_chain_is_folded_by_kind_first_and_whole_only_where_it_has_to_be() -> None:
    names = [str(n) for n in range(100)]
    nodes = nodes_of({name: names[at - 1 : at] if at else [] for at, name in enumerate(names)})
    thirds = tuple("train" if n < 50 else "score" for n in range(100))
    assert named(fold(nodes, thirds)) == [(50, "0", ()), (50, "50", ("0",))]
    turns = tuple("train" if n % 2 else "score" for n in range(100))
    assert named(fold(nodes, turns)) == [(100, "0", ())]


@pytest.mark.parametrize("depth", [3, 500])
def test_what_nothing_else_helps_with_is_folded_by_depth(depth: int) -> None:
    # Lanes of different kinds that need each other: no two stages look alike, none is in a chain.
    width = 500 // depth + 1
    rows = [[f"{layer}-{row}" for row in range(width)] for layer in range(depth)]
    needs = {name: [] for name in rows[0]}
    for upper, lower in itertools.pairwise(rows):
        needs |= {name: upper[: row + 1] for row, name in enumerate(lower)}
    folds = fold(nodes_of(needs), tuple(name.partition("-")[2] for name in needs))
    assert len(folds) == min(depth, MOST_NODES)
    assert sum(len(found.names) for found in folds) == len(needs)


def test_thousands_of_stages_are_folded_and_drawn_at_once() -> None:
    lanes = [f"s{n}" for n in range(5000)]
    nodes = nodes_of({"first": [], **{name: ["first"] for name in lanes}, "last": lanes})
    began = time.process_time()
    folds = fold(nodes, ("noop",) * len(nodes))
    draw(tuple(Node(found.name, found.needs) for found in folds))
    assert time.process_time() - began < 1
