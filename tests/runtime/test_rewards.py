"""What an answer is given by rule: whatever stands in it, a finite number."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_runtime import rewards
from platform_runtime.rewards import RewardError, Settings

ALL = Settings(exact_match=1.0, format=0.5, length=0.25, digits=2.0)

RIGHT = [
    ("5", "5"),
    ("2 plus 3 is 5.", "5"),
    ("2 + 3 = 5 #### 5", "5"),
    ("#### 4, no: #### 5", "5"),
    ("5.0", "5"),
    ("1,200", "1200"),
    ("-7", "-7"),
    ("The answer is Paris", "the answer is  paris."),
    ("I think … #### Paris", "paris"),
    ("#### “ #### '42'", "42"),
]
WRONG = [
    ("", "5"),
    ("five", "5"),
    ("5 and then 6", "5"),
    ("5 #### six", "5"),
    ("7", "-7"),
    ("Paris", "London"),
    ("", ""),
    ("anything", ""),
]


@pytest.mark.parametrize(("response", "answer"), RIGHT)
def test_a_right_answer_is_found_however_it_is_written(response: str, answer: str) -> None:
    assert rewards.exact_match(response, answer, ALL) == 1.0


@pytest.mark.parametrize(("response", "answer"), WRONG)
def test_a_wrong_one_gets_nothing(response: str, answer: str) -> None:
    assert rewards.exact_match(response, answer, ALL) == 0.0


@pytest.mark.parametrize(("response", "given"), [("#### 5", 1.0), ("####-1,200.5", 1.0), ("## 5", 0.0), ("####", 0.0)])
def test_the_form_is_a_pattern_found_anywhere(response: str, given: float) -> None:
    assert rewards.has_format(response, "5", ALL) == given


def test_the_pattern_can_be_another() -> None:
    settings = Settings.of({"format": 1.0, "format_pattern": r"<answer>.*</answer>"})
    assert rewards.has_format("<answer>5</answer>", "", settings) == 1.0
    assert rewards.has_format("5", "", settings) == 0.0


def test_a_pattern_that_never_ends_is_given_up_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.of({"format": 1.0, "format_pattern": r"^(a|aa)+$"})
    began = time.monotonic()
    assert [rewards.has_format("a" * 60 + "b", "", settings) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert time.monotonic() - began < 10 * rewards.SEARCH_LIMIT_S + 3
    assert len([record for record in caplog.records if "format_pattern" in record.message]) == 1


@pytest.mark.parametrize(("length", "penalty"), [(0, 0.0), (100, 0.0), (150, -0.5), (200, -1.0), (10_000, -1.0)])
def test_long_answers_cost_more_the_longer_they_are(length: int, penalty: float) -> None:
    settings = Settings.of({"length": 1.0, "length_free": 100, "length_limit": 200})
    assert rewards.length_penalty("x" * length, "", settings) == pytest.approx(penalty)


@pytest.mark.parametrize(("response", "share"), [("", 0.0), ("12", 1.0), ("a1", 0.5), ("٣", 0.0)])
def test_digits_are_counted(response: str, share: float) -> None:
    assert rewards.digit_share(response, "", ALL) == share


def test_the_score_is_the_weighted_sum_and_parts_are_told_before_weights() -> None:
    told = rewards.compute_score("prompts", "12#### 5", "5", {}, exact_match=2.0, format=0.5)
    assert told == {"score": 2.5, "exact_match": 1.0, "format": 1.0}


def test_without_settings_it_is_the_right_answer_alone() -> None:
    assert rewards.compute_score("prompts", "5", "5") == {"score": 1.0, "exact_match": 1.0}


def test_a_number_as_answer_is_taken_as_it_is_written() -> None:
    assert rewards.compute_score("prompts", "12", 12)["score"] == 1.0
    assert rewards.compute_score("prompts", "12", None)["score"] == 0.0


@given(st.text(), st.text())
def test_any_text_gets_a_finite_number(response: str, answer: str) -> None:
    told = rewards.score(response, answer, ALL)
    assert all(math.isfinite(value) for value in told.values())
    assert -0.25 <= told["score"] <= 3.5


@pytest.mark.parametrize("text", ["1" * 20_000, "1," * 10_000, "-" * 20_000, "#" * 20_000, "." * 20_000, "\0" * 20_000])
def test_a_very_long_text_takes_no_time_to_speak_of(text: str) -> None:
    assert math.isfinite(rewards.score(text, text, ALL)["score"])


BROKEN = {
    "a name that is none": ({"exactmatch": 1.0}, "exactmatch"),
    "a weight that is text": ({"format": "1"}, "format"),
    "a weight that is true": ({"format": True}, "format"),
    "a weight that is no number": ({"digits": math.nan}, "digits"),
    "a pattern that is none": ({"format_pattern": "(["}, "format_pattern"),
    "a pattern that is a number": ({"format_pattern": 5}, "format_pattern"),
    "a length with a fraction": ({"length_free": 1.5}, "length_free"),
    "a negative length": ({"length_free": -1}, "length_free"),
    "lengths the wrong way round": ({"length_free": 900}, "length_limit"),
}


@pytest.mark.parametrize(("options", "key"), BROKEN.values(), ids=BROKEN.keys())
def test_settings_that_mean_nothing_are_refused_by_name(options: dict[str, object], key: str) -> None:
    with pytest.raises(RewardError) as told:
        Settings.of(options)
    assert told.value.key == key
    assert told.value.why
