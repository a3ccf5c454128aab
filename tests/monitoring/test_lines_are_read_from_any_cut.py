"""The pure reader: whole lines only, whatever the bytes and wherever they are cut."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.store import lines

from .lines import line

FILE = b"".join(
    [
        line(1, loss=1.5, val="NaN"),
        b"garbage\n",
        b'\xff\xfe{"step": 2}\n',
        b'\xef\xbb\xbf{"v":1,"step":3,"metrics":{"loss":1}}\n',
        b'{"v":1,"step":4,"metrics":{"loss":NaN,"a":1e400,"b":-Infinity}}\n',
        b"\n",
        b'{"v":1,"step":5,"metrics":{"loss":1}}\0\n',
        b"[" * 5000 + b"\n",
        b'{"v":2,"step":6,"metrics":{}}\n',
        b'{"v":1,"step":-1,"metrics":{}}\n',
        b'{"v":1,"step":true,"metrics":{}}\n',
        b'{"v":1,"step":7,"metrics":[]}\n',
        line(8, loss=0.5, anomaly={"type": "nan_inf", "message": "x\0"}),
        b'{"v":1,"step":9,"metrics":{"loss":2}}\r\n',
        b'{"v":1,"step":10,"metr',
    ]
)


def read(data: bytes, cuts: list[int]) -> tuple[list[lines.Step], list[lines.Bad], int]:
    """As sync does it: what a piece leaves over is read again with the next."""
    offset, skip, steps, bad = 0, None, [], []
    for cut in [*sorted(cuts), len(data)]:
        found = lines.parse(data[offset:cut], offset, skip)
        steps += found.lines
        bad += found.bad
        offset, skip = offset + found.consumed, found.skip_from
    return steps, bad, offset


def test_bad_lines_are_told_with_their_offset_and_good_ones_kept() -> None:
    steps, bad, offset = read(FILE, [])
    assert [step.step for step in steps] == [1, 4, 8, 9]
    assert steps[1].values == {"loss": "NaN", "a": "Infinity", "b": "-Infinity"}
    assert steps[2].anomaly == lines.Anomaly("nan_inf", "x\N{REPLACEMENT CHARACTER}")
    assert len(bad) == 9
    assert all(FILE[b.offset - 1 : b.offset] in (b"", b"\n") for b in bad)
    assert FILE[offset:] == b'{"v":1,"step":10,"metr'


def test_a_cut_at_every_byte_changes_nothing() -> None:
    whole = read(FILE, [])
    for cut in range(len(FILE)):
        assert read(FILE, [cut]) == whole


@given(st.lists(st.integers(0, len(FILE)), max_size=30))
@settings(max_examples=60)
def test_many_cuts_change_nothing(cuts: list[int]) -> None:
    assert read(FILE, cuts) == read(FILE, [])


@given(st.binary(max_size=400) | st.just(FILE), st.integers(1, 5))
@settings(max_examples=150)
def test_to_stop_after_some_lines_and_go_on_changes_nothing(data: bytes, most: int) -> None:
    offset, steps, bad = 0, list[lines.Step](), list[lines.Bad]()
    while (found := lines.parse(data[offset:], offset, most=most)).consumed:
        assert len(found.lines) <= most
        steps, bad, offset = steps + found.lines, bad + found.bad, offset + found.consumed
    assert (steps, bad, offset) == read(data, [])


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=150)
def test_any_bytes_are_survived(data: bytes, cuts: list[int]) -> None:
    whole = read(data, [])
    assert read(data, [min(cut, len(data)) for cut in cuts]) == whole
    assert whole[2] == data.rfind(b"\n") + 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["v", "step", "time", "metrics", "anomaly"]), JSON))
@settings(max_examples=200)
def test_any_json_is_either_a_step_or_a_reason(body: dict[str, object]) -> None:
    found = lines.parse(json.dumps(body).encode() + b"\n")
    assert len(found.lines) + len(found.bad) == 1
    for step in found.lines:
        for name, value in step.values.items():
            assert name.isprintable()
            assert isinstance(value, int | float) or value in lines.NON_FINITE


@pytest.mark.parametrize("size", [lines.MAX_LINE - 100, lines.MAX_LINE, lines.MAX_LINE + 1, 10 << 20])
def test_a_long_line_is_skipped_at_its_exact_end_without_being_held(size: int) -> None:
    data = line(1) + b"x" * size + b"\n" + line(2)
    piece, offset, skip, steps, bad = lines.MAX_LINE + 4096, 0, None, [], []
    while offset < len(data):
        found = lines.parse(data[offset : offset + piece], offset, skip)
        assert found.consumed
        steps += found.lines
        bad += found.bad
        offset, skip = offset + found.consumed, found.skip_from
    assert [step.step for step in steps] == [1, 2]
    assert [b.offset for b in bad] == [len(line(1))]
    assert ("longer" in bad[0].reason) is (size > lines.MAX_LINE)


def test_metrics_that_are_none_are_left_out_and_named() -> None:
    found = lines.parse(line(1, loss=1, text="hi", none=None, list=[1], **{"": 2, "a\nb": 3, "x" * 201: 4}))
    assert found.lines[0].values == {"loss": 1}
    assert {"text", "none", "list"} <= found.dropped


def test_integers_beyond_every_database_become_floats() -> None:
    values = lines.parse(line(1, big=10**30, huge=10**400, small=-(10**400))).lines[0].values
    assert values == {"big": 1e30, "huge": "Infinity", "small": "-Infinity"}


def test_names_beyond_the_cap_find_no_place() -> None:
    found = lines.parse(line(1, **{f"m{i:05}": i for i in range(10_000)}))
    steps = lines.merge(found.lines)
    names, refused = lines.admit(steps, found.names, ["loss"])
    assert len(names) == lines.MAX_NAMES
    assert "loss" in names
    assert refused == 10_001 - lines.MAX_NAMES
    assert len(steps[1].values) == lines.MAX_NAMES - 1


def test_lines_of_one_step_merge_and_the_last_value_counts() -> None:
    merged = lines.merge(lines.parse(line(1, a=1, b=2) + line(2) + line(1, b=3, c="NaN")).lines)
    assert merged[1].values == {"a": 1, "b": 3, "c": "NaN"}
