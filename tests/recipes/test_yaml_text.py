"""Settings as YAML: what people mean is read, what is written reads the same, and tricks are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.recipes import yaml_text
from pipelines.recipes.yaml_text import YamlProblem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5), ("1.0e-5", 1e-5), (".5", 0.5), ("1.", 1.0), ("-3", -3), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None), ("no", "no"), ("off", "off"), ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"), ("007", "007"), ("0x1f", "0x1f"), ("1_000", "1_000"), ("'1e-5'", "1e-5"), ("'true'", "true"),
        ("[1, a, 2e3]", [1, "a", 2000.0]), ("${oc.env:HOME}", "${oc.env:HOME}"), (".inf", ".inf"), ("{}", {}),
    ],
)  # fmt: skip
def test_a_value_is_what_people_mean(text, value):
    read = yaml_text.read(f"optim.lr: {text}\n")
    assert read == {"optim.lr": value}
    assert type(read["optim.lr"]) is type(value)


def test_nested_and_dotted_keys_are_the_same():
    assert yaml_text.read("optim:\n  lr: 1\n  betas: [0.9, 1]\noptim.clip_grad: 2\n") == {
        "optim.lr": 1,
        "optim.betas": [0.9, 1],
        "optim.clip_grad": 2,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x [1]\nb: *x", "Line 2: aliases"),
        ("a: 1\na: 2", "Line 2: a stands there twice"),
        ("a.b: 1\na: {b: 2}", "nested and dotted"),
        ("<<: {a: 1}\na: 2\n? [1]\n: 2", "a key is a word"),
        ("- 1", "key: value"),
        ("nonsense", "key: value"),
        ("a: [1", "Line 1"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: !!binary aGk=", "bytes is not taken"),
        ("a: \x00", "no YAML"),
        ("a: " + "[" * 3000, "no YAML|expected"),
        ("a: " + "{b: " * 50 + "1" + "}" * 50, "too deeply"),
        ("a: " + "x" * 300_000, "Longer than"),
        ("a: 1\n---\nb: 2", "another document"),
    ],
)
def test_what_is_no_settings_is_refused_with_its_place(text, told):
    with pytest.raises(YamlProblem, match=told):
        yaml_text.read(text)


SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = SCALARS | st.text() | st.lists(SCALARS | st.text(), max_size=4)
KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_what_is_written_reads_the_same(params):
    assert yaml_text.read(yaml_text.write(params)) == params


@given(VALUES)
def test_a_value_alone_reads_as_it_was_written(value):
    text = yaml_text.write_value(value)
    assert yaml_text.read_value(text) == value


def test_settings_are_written_one_a_line():
    params = {"b.c": [1, "x"], "a": 0.1, "d": {"e": None}}
    assert yaml_text.write(params) == "a: 0.1\nb.c: [1, x]\nd: {e: null}\n"
