"""What people type into the editor is what the pipeline gets; what cannot be is told at its field."""

from typing import Any

import pytest
from django.http import QueryDict

from pipelines.pipeline_form import PipelineForm, Unreadable, read_params, write_params


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        ("recipe = tiny-sft\nseed = 3", {"recipe": "tiny-sft", "seed": 3}),
        ("overrides.trainer.total_epochs = 2", {"overrides": {"trainer.total_epochs": 2}}),
        ('{"a": {"b": [1, null]}}', {"a": {"b": [1, None]}}),
        ("# a remark\n\n a = x = y ", {"a": "x = y"}),
        ("data = {{ stages.prepare.result.rows }}", {"data": "{{ stages.prepare.result.rows }}"}),
    ],
)  # fmt: skip
def test_parameters_are_read_from_lines_or_json(text: str, params: dict[str, Any]) -> None:
    assert read_params(text) == params


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a", "Line 1"), ("a = 1\n= 2", "Line 2"), ("a. = 1", "Line 1"), ("a = 1\na = 2", "twice"),
        ("a = 1\na.b = 2", "twice"), ("{", "no JSON object"), ("a = 1\n[1]", "Line 2"),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_read_name_their_line(text: str, told: str) -> None:
    with pytest.raises(Unreadable, match=told):
        read_params(text)


@pytest.mark.parametrize(
    "params",
    [
        {}, {"a": 1, "b": "true", "c": None}, {"a": {"b.c": 0.5, "d": {"e": 1}}}, {"a.b": 1}, {"a": {}},
        {"a": "two\nlines"}, {"a=b": 1}, {"a": " x "}, {"#": 1}, {"a": []},
    ],
)  # fmt: skip
def test_parameters_come_back_the_same(params: dict[str, Any]) -> None:
    assert read_params(write_params(params)) == params


def form(**fields: Any) -> PipelineForm:
    data = QueryDict(mutable=True)
    for name, value in fields.items():
        data.setlist(name.replace("__", "-"), value if isinstance(value, list) else [value])
    return PipelineForm.from_post(data)


def test_a_stage_that_is_added_runs_after_the_last_and_one_that_is_removed_is_bridged() -> None:
    made = form(row=["0"], stage__0__name="a")
    made.add()
    made.add()
    assert [(row.key, row.after) for row in made.rows] == [("0", []), ("1", ["0"]), ("2", ["1"])]
    made.remove("1")
    assert [(row.key, row.after) for row in made.rows] == [("0", []), ("2", ["0"])]
    made.add()
    assert made.rows[-1].key == "3", "a key is not used again while its stage may still be named"


def test_dependencies_follow_a_stage_whose_name_changes() -> None:
    made = form(row=["0", "7"], stage__0__name="new-name", stage__7__name="b", stage__7__after=["0", "99"])
    assert [stage.depends_on for stage in made.spec().stages] == [(), ("new-name",)]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"priority": "11"}, "priority"), ({"priority": "x"}, "priority"), ({"max_retries": "-1"}, "max_retries"),
        ({"name": ""}, "name"), ({"name": "x" * 201}, "name"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_pipeline_itself_is_noted(fields: dict[str, str], where: str) -> None:
    made = form(**{"name": "a", "priority": "5", "max_retries": "0", **fields})
    made.spec()
    assert list(made.errors) == [where]


def test_problems_of_the_service_stand_at_their_fields() -> None:
    made = form(name="p", priority="5", row=["4", "9"], stage__4__name="a", stage__9__name="b")
    made.place({"stages.1.depends_on": "cycle", "stages.0.params.recipe": "unknown", "stages.0.task": "kind"})
    assert made.rows[0].errors == {"params": ["recipe: unknown"], "kind": ["kind"]}
    assert made.rows[1].errors == {"after": ["cycle"]}
    assert not made.ready
