"""The samples of a step, out of a file in any state: each one found, or its line told."""

import io
import json
import math
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.readers import rollouts as reader
from monitoring.readers.rollouts import Bad, Figures, Place

from .rollout_files import sample


def line(*args: Any, **fields: Any) -> bytes:
    return json.dumps(sample(*args, **fields).to_json()).encode() + b"\n"


def survey(content: bytes, step: int = 1, **more: Any) -> reader.Survey:
    return reader.survey(io.BytesIO(content), step, **more)


def test_each_sample_is_found_where_it_stands() -> None:
    content = line(group=0, reward=0.5) + line(group=1, number=1, reward=-2, tokens=9)
    found = survey(content)
    first, second = found.places
    assert first == Place(0, content.index(b"\n") + 1, 0, 0, 4, 0.5)
    assert second == Place(first.length, len(content) - first.length, 1, 1, 9, -2.0)
    assert (found.bad_lines, found.cut) == (0, False)
    again = reader.sample(content[second.offset : second.offset + second.length], 1)
    assert again == sample(group=1, number=1, reward=-2, tokens=9)


BROKEN = {
    "half a line": (line()[:40], "not JSON"),
    "a bare NaN": (line(reward="NaN").replace(b'"NaN"', b"NaN"), "not JSON"),
    "half of a surrogate pair": (line(response="X").replace(b'"X"', b'"\\ud800"'), "not JSON"),
    "no text at all": (b"\xff\xfe\x00\n", "not JSON"),
    "brackets without end": (b"[" * 100_000 + b"\n", "not JSON"),
    "no object": (b"[1]\n", "no object"),
    "no reward": (line().replace(b'"reward"', b'"award"'), "reward"),
    "another step": (line(step=2), "of step 2, not 1"),
    "an empty line": (b"\n", "not JSON"),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_line_is_told_and_hides_no_other(broken: bytes, reason: str) -> None:
    broken = broken if broken.endswith(b"\n") else broken + b"\n"
    found = survey(line() + broken + line(number=1))
    assert [place.sample for place in found.places] == [0, 1]
    assert found.bad_lines == 1
    assert found.bad[0].line == 2
    assert reason in found.bad[0].reason


def test_a_line_of_ten_megabytes_is_passed_over_in_little_memory() -> None:
    content = line() + line(response="x" * (10 << 20)) + line(number=1)
    tracemalloc.start()
    found = survey(content)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [place.sample for place in found.places] == [0, 1]
    assert found.bad == [Bad(2, "longer than 4 MiB")]
    assert peak < 7 << 20


def test_a_line_as_long_as_allowed_is_read() -> None:
    short = line(response="")
    whole = line(response="x" * (reader.MOST_LINE - len(short)))
    assert len(whole) == reader.MOST_LINE
    assert len(survey(whole + line(number=1)).places) == 2


class Endless(io.RawIOBase):
    """Hands out the same bytes again and again, and counts them."""

    def __init__(self, piece: bytes) -> None:
        super().__init__()
        self.piece, self.given = piece, 0

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        found = self.piece[:size]
        self.given += len(found)
        return found


@pytest.mark.parametrize("piece", [line(), b"x" * (1 << 20)], ids=["lines", "one line"])
def test_a_file_without_end_is_cut(piece: bytes) -> None:
    endless = Endless(piece)
    found = reader.survey(endless, 1, 6 << 20)
    assert found.cut
    assert endless.given < 8 << 20


def test_a_hundred_megabytes_of_nothing_hold_up_nobody() -> None:
    began = time.monotonic()
    found = survey(b"\n" * (100 << 20))
    assert found.cut
    assert found.bad_lines == reader.MOST_LINES
    assert len(found.bad) == reader.MOST_TOLD
    assert time.monotonic() - began < 20


def test_the_last_line_needs_no_end() -> None:
    assert len(survey(line() + line(number=1).rstrip()).places) == 2


def places(*rewards: float, group: int = 0) -> list[Place]:
    return [Place(0, 0, group, number, 0, reward) for number, reward in enumerate(rewards)]


def test_figures_are_those_of_the_numbers() -> None:
    nan, inf = math.nan, math.inf
    assert reader.figures(places(1.0, nan, 0.0, -inf)) == Figures(4, 1, 0.0, 0.5, 1.0)
    assert reader.figures(places(nan)) == Figures(1, 1, None, None, None)
    assert reader.figures([]) == Figures(0, 0, None, None, None)


def test_rewards_too_large_to_be_added_have_a_mean() -> None:
    assert reader.figures(places(1.7e308, 1.7e308)).reward_mean == 1.7e308
    assert survey(line(reward=10**400)).bad_lines + len(survey(line(reward=10**400)).places) == 1


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_the_mean_lies_between(rewards: list[float]) -> None:
    found = reader.figures(places(*rewards))
    assert None not in (found.reward_min, found.reward_mean, found.reward_max)
    assert found.reward_min <= found.reward_mean <= found.reward_max  # type: ignore[operator]  # just asserted


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [
        (None, None, [0, 1, 2, 3]),
        (0.0, None, [1, 2]),
        (None, 0.0, [0, 1]),
        (0.0, 0.0, [1]),
        (2.0, 1.0, []),
    ],
)
def test_a_bound_is_included_and_what_is_no_number_is_not(
    low: float | None, high: float | None, kept: list[int]
) -> None:
    found = reader.between(places(-1.0, 0.0, 1.0, math.nan), low, high)
    assert [place.sample for place in found] == kept


def test_orders_put_what_is_no_number_last() -> None:
    found = places(0.5, math.nan, 1.0, -math.inf)
    for order, expected in {"reward": [0, 2, 1, 3], "-reward": [2, 0, 1, 3]}.items():
        assert [place.sample for place in sorted(found, key=reader.ORDERS[order])] == expected


def test_groups_are_put_in_order_by_what_they_came_to() -> None:
    groups = reader.grouped([*places(1.0, 1.0), *places(0.0, 1.0, group=1), *places(math.nan, group=2)])
    assert [(group.number, group.mean, group.spread) for group in groups] == [
        (0, 1.0, 0.0),
        (1, 0.5, 1.0),
        (2, None, None),
    ]
    for order, expected in {"reward": [1, 0, 2], "-reward": [0, 1, 2], "-spread": [1, 0, 2]}.items():
        assert [group.number for group in sorted(groups, key=reader.GROUP_ORDERS[order])] == expected
