"""What a person types into a value is what the trainer gets."""

from typing import Any

import pytest

from pipelines.forms import Overrides, literal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("1e-4", 1e-4), (".5", 0.5), ("true", True), ("True", True), ("False", False), ("null", None),
        ("None", None), ("[1, 2]", [1, 2]), ('{"a": 1}', {"a": 1}), ('"3"', "3"), ("right", "right"), (" x ", "x"),
        ("", ""), ("nan", "nan"), ("inf", "inf"), ("NaN", "NaN"), ("1_000", 1000.0), ("a,b", "a,b"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_it_is_meant(text: str, value: Any) -> None:
    assert literal(text) == value
    assert type(literal(text)) is type(value)


@pytest.mark.parametrize("value", [3, 0.5, True, None, "right", "3", "true", [1, "a"], {"a": None}, ""])
def test_what_a_run_was_given_comes_back_the_same(value: Any) -> None:
    assert Overrides.of({"k": value}).values == {"k": value}
