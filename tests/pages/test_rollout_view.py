"""Texts are folded without a loss, what hides or turns text is named, and rewards become a picture."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.readers.rollouts import grouped
from monitoring.rollout_selectors import Point
from pipelines import rollout_view as view
from pipelines.rollout_view import Chip, curve_of, plain, text_of
from platform_runtime.rollouts import Sample
from tests.monitoring.test_rollout_files_are_read import places

WORDS = st.text(alphabet=st.sampled_from("ab c\nd"), max_size=3000)


@given(WORDS)
def test_a_folded_text_is_the_whole_text(value: str) -> None:
    text = text_of(value)
    assert text.head + text.middle + text.tail == value
    assert text.left_out == 0
    assert bool(text.middle) == (len(value) > view.FOLD_FROM)


@given(WORDS, st.integers(700, 4000))
def test_what_is_left_out_is_counted_and_is_of_the_middle(value: str, most: int) -> None:
    text = text_of(value, most)
    shown = text.head + text.middle + text.tail
    assert len(shown) + text.left_out == len(value)
    assert value.startswith(text.head + text.middle)
    assert value.endswith(text.tail)


def test_a_text_is_parted_between_words_and_its_end_is_seen() -> None:
    text = text_of("so " * 500 + "\n#### 42")
    assert text.head.endswith("so ")
    assert text.tail.startswith("so ")
    assert text.tail.endswith("\n#### 42")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("12 + 3 = 15\n\t#### 15", "12 + 3 = 15\n\t#### 15"),
        ("15\u202e51", "15⟨U+202E⟩51"),
        ("\u2066a\u2069", "⟨U+2066⟩a⟨U+2069⟩"),
        ("a\x00b\x1b[31mc", "a⟨U+0000⟩b⟨U+001B⟩[31mc"),
        ("line\u2028line", "line⟨U+2028⟩line"),
        ("👩\u200d🔬 שלום 你好", "👩\u200d🔬 שלום 你好"),
    ],
    ids=["plain", "override", "isolates", "control", "separator", "letters"],
)
def test_what_hides_or_turns_text_is_named(written: str, shown: str) -> None:
    assert plain(written) == shown


def test_a_reward_is_good_or_poor_among_those_of_its_step() -> None:
    assert [view.tone_of(reward, 0.0, 1.5) for reward in (0.0, 0.75, 1.5)] == ["poor", "fair", "good"]
    assert view.tone_of(1.0, 1.0, 1.0) == ""
    assert view.tone_of(float("nan"), 0.0, 1.0) == "odd"


@pytest.mark.parametrize(("answer", "shown"), [("4", "4"), (0, "0"), ("", None), (None, None)])
def test_a_prompt_without_an_answer_shows_none(answer: object, shown: str | None) -> None:
    (group,) = grouped(places(1.0))
    sample = Sample(1, 0, 0, 0, [{"role": "user", "content": "2+2?"}], "4", 1, answer, 1.0)
    truth = view.card_of(group, group.places, [sample], 0.0, 1.0).truth
    assert (truth and truth.head) == shown


def test_few_rewards_can_be_chosen_from() -> None:
    assert view.chips_of(places(1.0, 0.0, 1.0, float("nan"))) == [Chip(0.0, 1), Chip(1.0, 2)]
    assert view.chips_of(places(1.0, 1.0)) == []
    assert view.chips_of(places(*range(9))) == []


def test_the_curve_leaves_room_for_what_is_to_come() -> None:
    curve = curve_of([Point(1, 1, 0.0, 0.5, 1.0), Point(2, 2, 0.0, 1.0, 1.0)], target=5)
    assert curve is not None
    assert (curve.first, curve.end, curve.newest) == (1, 5, 2)
    assert curve.line == "0.0,60.0 250.0,0.0"
    assert curve.band == "0.0,0.0 250.0,0.0 250.0,120.0 0.0,120.0"
    assert json.loads(curve.data) == [[1, 1, 0.0, 0.5, 1.0], [2, 2, 0.0, 1.0, 1.0]]


def test_the_curve_of_one_reward_lies_in_the_middle() -> None:
    curve = curve_of([Point(7, 7, 1.0, 1.0, 1.0)], target=None)
    assert curve is not None
    assert curve.line == "0.0,60.0"
    assert curve_of([], target=5) is None


def test_rewards_of_any_size_have_a_curve() -> None:
    curve = curve_of([Point(1, 1, -1.7e308, 0.0, 1.7e308)], target=None)
    assert curve is not None
    assert "nan" not in curve.band + curve.line
    assert "inf" not in curve.band + curve.line
