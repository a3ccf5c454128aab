"""JSON in: bounded, and nothing that a database or a file cannot keep."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any, Final, NoReturn

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from ..errors import TooLarge

MAX_DEPTH: Final = 64


class Json(BaseParser):
    """Takes JSON in UTF-8 up to DATA_UPLOAD_MAX_MEMORY_SIZE. Refuses NaN, numbers beyond 64 bits, NUL characters,
    halves of surrogate pairs, nesting beyond MAX_DEPTH, and one name twice in an object."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        content = stream.read() if limit is None else stream.read(limit + 1)
        if limit is not None and len(content) > limit:
            raise TooLarge(_("The request is larger than the platform takes."))
        return loads(content) if content.strip() else {}


def loads(content: bytes) -> Any:
    """The JSON value. Raises ParseError."""
    try:
        value = json.loads(
            content.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_float,
            parse_int=_int,
            object_pairs_hook=_object,
        )
        _check(value)
    except UnicodeDecodeError:
        raise ParseError(_("The request is not UTF-8.")) from None
    except RecursionError:
        raise ParseError(_("The JSON is nested too deeply.")) from None
    except ValueError as error:
        raise ParseError(_("The request is not JSON: {problem}.").format(problem=error)) from None
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large")
    return number


def _int(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"{text[:20]} is too large")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _check(value: Any) -> None:
    """Walks without recursion, as the depth is what is in question."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, list):
            waiting.extend((inner, depth + 1) for inner in item)
        elif isinstance(item, dict):
            waiting.extend((name, depth) for name in item)
            waiting.extend((inner, depth + 1) for inner in item.values())


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("text must not contain NUL")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("text must be valid Unicode") from None
