"""References between stages are looked up, never run."""

import pytest

from pipelines.templating import LookupFailed, malformed, references, resolve

RESULTS = {"clean": {"dataset_version": "sums@3", "rows_out": 12, "metrics": {"train/loss": 0.5}}}


def test_a_reference_alone_keeps_its_type_and_within_a_text_becomes_words() -> None:
    params = {
        "n": "{{ stages.clean.result.rows_out }}",
        "deep": [{"text": "from {{stages.clean.result.rows_out}} rows"}],
    }
    assert resolve(params, RESULTS) == {"n": 12, "deep": [{"text": "from 12 rows"}]}


def test_a_key_of_a_nested_result_is_found() -> None:
    params = {"loss": "{{ stages.clean.result.metrics.train/loss }}"}
    assert resolve(params, RESULTS) == {"loss": 0.5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ stages.clean.result.rows }}", "Its result has: dataset_version, metrics, rows_out"),
        ("{{ stages.other.result.rows }}", "needs no stage of that name"),
        ("{{ stages.clean.result.rows_out.x }}", "not there"),
    ],
)
def test_what_is_not_there_is_said(text: str, says: str) -> None:
    with pytest.raises(LookupFailed, match=says):
        resolve({"x": text}, RESULTS)


@pytest.mark.parametrize(
    "text", ["{{ 1 + 1 }}", "{{ stages.clean }}", "{{ stages.__class__.result.x }}", "{{", "a }} b"]
)
def test_anything_else_in_braces_is_named_and_left_alone(text: str) -> None:
    assert malformed({"a": {"b": [text]}}) == ["a.b.0"]
    assert resolve({"a": text}, RESULTS) == {"a": text}


def test_references_are_found_with_their_place() -> None:
    found = references({"data": {"set": "{{ stages.clean.result.dataset_version }}"}})
    assert [(one.where, one.stage, one.key) for one in found] == [("data.set", "clean", "dataset_version")]
