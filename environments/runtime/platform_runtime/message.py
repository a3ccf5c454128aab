"""JSON that two programs share: in and out of frozen dataclasses, with each value looked at. Stdlib only."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, Self, TypeVar, cast

MOST_SECONDS: Final = 1e11
"""No moment and no duration here is longer: the year 5138. Beyond the calendar, nobody could work with it."""
MOST_CODE: Final = 2**31

T = TypeVar("T")


class ContractError(ValueError):
    """A file of a run folder does not say what it must. The message names the key."""


class Message(ABC):
    """JSON in and out for the frozen dataclasses."""

    def to_json(self) -> dict[str, Any]:
        return asdict(cast(Any, self))

    @classmethod
    @abstractmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises ContractError."""

    def to_bytes(self) -> bytes:
        return (json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{cls.__name__}: not JSON: {error}") from error
        if not isinstance(data, dict):
            raise ContractError(f"{cls.__name__}: an object was expected")
        return cls.from_json(data)


def read(data: Mapping[str, Any], key: str, value: Callable[[Any], T]) -> T:
    try:
        return value(data[key])
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"{key}: {error!r}") from error


def optional(of: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else of(value)


def as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value


def as_integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number was expected")
    if not -(2**63) <= value < 2**63:
        raise ValueError("no whole number of 64 bits")
    return value


def as_code(value: Any) -> int:
    if not 0 <= as_integer(value) < MOST_CODE:
        raise ValueError("no exit code or signal")
    return as_integer(value)


def as_seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number was expected")
    if not 0 <= value < MOST_SECONDS:
        raise ValueError("no moment or duration")
    return float(value)


def as_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false was expected")
    return value


def as_texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return [as_text(item) for item in value]


def as_mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object was expected")
    return value
