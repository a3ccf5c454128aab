"""What a form offers of a trainer's settings: those that people tune, in groups as they think of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """One setting. `help` says what it does; `unit` what it counts, where the name does not say it."""

    key: str
    label: str
    help: str
    unit: str = ""


@dataclass(frozen=True)
class Group:
    name: str
    fields: tuple[Field, ...]
