"""Two sets of settings side by side: what was added, removed, changed; defaults are told, equals are equal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.recipes.diff import diff, same

DEFAULTS = {"optim.lr": 0.001, "trainer.total_epochs": 4, "model.use_liger": False}


def told(left, right):
    return {row.key: (row.sort, row.left, row.right) for row in diff(left, right, DEFAULTS)}


def test_each_sort_of_difference_is_told_with_the_default_of_the_side_that_is_silent():
    assert told({"optim.lr": 0.01, "trainer.total_epochs": 2, "x": 1}, {"optim.lr": 0.1, "model.use_liger": True}) == {
        "optim.lr": ("changed", 0.01, 0.1),
        "trainer.total_epochs": ("removed", 2, 4),
        "model.use_liger": ("added", False, True),
        "x": ("removed", 1, None),
    }


def test_naming_the_default_changes_nothing():
    (row,) = diff({"optim.lr": 0.001}, {}, DEFAULTS)
    assert (row.sort, row.right_default, row.left_default) == ("equal", True, False)


def test_null_is_not_the_same_as_a_key_that_nobody_knows():
    assert told({"x": None}, {}) == {"x": ("removed", None, None)}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True), (1, True, False), (0, False, False), ("1", 1, False), ([1, 2], [1.0, 2], True),
        ([1, True], [1, 1], False), ({"a": 1}, {"a": 1.0}, True), ({"a": 1}, {"b": 1}, False), (None, None, True),
        (None, 0, False), ([], {}, False), ([1], [1, 2], False),
    ],
)  # fmt: skip
def test_values_are_compared_as_json(one, other, equal):
    assert same(one, other) is equal
    assert same(other, one) is equal


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
SETTINGS = st.dictionaries(st.sampled_from([*DEFAULTS, "x", "y"]), VALUES)


@given(SETTINGS, SETTINGS)
def test_turned_round_it_is_the_mirror_image(left, right):
    mirror = {"added": "removed", "removed": "added", "changed": "changed", "equal": "equal"}
    there, back = diff(left, right, DEFAULTS), diff(right, left, DEFAULTS)
    assert [(row.key, mirror[row.sort], row.left, row.right) for row in there] == [
        (row.key, row.sort, row.right, row.left) for row in back
    ]
    assert {row.key for row in there} == {*left, *right}


@given(SETTINGS)
def test_nothing_differs_from_itself(settings):
    assert {row.sort for row in diff(settings, settings, DEFAULTS)} <= {"equal"}
