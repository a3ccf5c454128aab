"""What is compared in an evaluation, and what counts as right."""

import pytest

from platform_runtime.answers import is_right, last_number, text


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Starting from 8, adding 19 gives 27. #### 27", "27"),
        ("It is 27.", "27"),
        ("27", "27"),
        ("x=27y", "27"),
        ("5-3", "3"),
        ("-3", "-3"),
        ("from 2 to -3 degrees", "-3"),
        ("1,200,000 people", "1200000"),
        ("12,34", "34"),
        ("2.50", "2.5"),
        (".5", "0.5"),
        ("007", "7"),
        ("-0.0", "0"),
        ("+4", "4"),
        ("1 2 3", "3"),
        ("\uff12\uff17", "27"),
        ("9" * 60 + ".10", "9" * 60 + ".1"),
        ("none at all", ""),
        ("", ""),
        ("--", ""),
    ],
)
def test_the_last_number_in_plain_digits(said: str, number: str) -> None:
    assert last_number(said) == number


def test_a_text_is_compared_without_what_stands_around_it() -> None:
    assert is_right(text("\n Paris "), text("Paris"))
    assert not is_right(text("paris"), text("Paris"))


def test_no_answer_is_never_right() -> None:
    assert not is_right(last_number("no idea"), last_number("nothing"))
