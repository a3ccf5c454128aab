"""What counts as the right answer to an item of an evaluation. Pure, standard library only."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

_NUMBER: Final = re.compile(r"(?<![\d.])[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)")


def text(said: str) -> str:
    """All of it, without the white space around it."""
    return said.strip()


def last_number(said: str) -> str:
    """The last number in it as plain digits, `-1,200.50` as `-1200.5`; empty where there is none."""
    found = _NUMBER.findall(said)
    if not found:
        return ""
    number = Decimal(found[-1].replace(",", ""))
    digits = f"{number:f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return digits if number else "0"


EXTRACT: Final[Mapping[str, Callable[[str], str]]] = {"text": text, "last_number": last_number}
"""How what is compared is taken from what was said, by name."""


def is_right(extracted: str, expected: str) -> bool:
    """Exactly what was expected. Nothing at all is never right."""
    return bool(expected) and extracted == expected
