"""Values as literals: what may stand in a recipe at all, and how it survives OmegaConf unchanged."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .spec import Json, Problem, gettext_noop

MAX_TEXT: Final = 100_000
MAX_DEPTH: Final = 8
MAX_ITEMS: Final = 10_000

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_HYDRA_WORD: Final = re.compile(r"_[a-z_]+_")
_SUBSTITUTION: Final = re.compile(r"(\\*)\$\{")
# What YAML or UTF-8 cannot carry: control characters but tab and line ends, lone surrogates.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def key_problem(key: str) -> Problem | None:
    """Refuses the syntax of Hydra's command line and of its instantiation; a plain dotted key passes."""
    if key[:1] in {"+", "~"}:
        plain = key.lstrip("+~")
        return Problem(
            key, gettext_noop("Hydra's +, ++ and ~ are not used here: write the plain key."), suggestion=plain or None
        )
    if key == "hydra" or key.startswith("hydra."):
        return Problem(key, gettext_noop("Hydra's own settings cannot be changed by a recipe."))
    if any(_HYDRA_WORD.fullmatch(part) for part in key.split(".")):
        return Problem(key, gettext_noop("Keys such as _target_ name code to run and cannot be set by a recipe."))
    if len(key) > 200 or not _KEY.fullmatch(key):
        return Problem(key, gettext_noop("This is not a dotted key of letters, digits, - and _."))
    return None


def value_problem(key: str, value: Json) -> Problem | None:
    """Refuses what cannot be written down and read back as the same literal, and code hidden in nested keys."""
    for count, (depth, part) in enumerate(_parts(value, 0), start=1):
        if depth > MAX_DEPTH or count > MAX_ITEMS:
            return Problem(key, gettext_noop("The value is nested too deeply or has too many parts."))
        problem = _part_problem(key, part)
        if problem is not None:
            return problem
    return None


def _part_problem(key: str, part: object) -> Problem | None:
    match part:
        case str() if part == "???":
            return Problem(key, gettext_noop("The text ??? means “missing” to the trainer and cannot be a value."))
        case str() if len(part) > MAX_TEXT:
            return Problem(key, gettext_noop("The text is longer than %(limit)d characters."), {"limit": MAX_TEXT})
        case str() if _UNPRINTABLE.search(part):
            return Problem(key, gettext_noop("The text holds control characters."))
        case float() if not math.isfinite(part):
            return Problem(key, gettext_noop("The number must be finite."))
        case int() if abs(part) >= 2**63:
            return Problem(key, gettext_noop("The number does not fit into 64 bits."))
        case Mapping():
            for name in part:
                if not isinstance(name, str):
                    return Problem(key, gettext_noop("Keys inside a value must be text."))
                inner = key_problem(name) if "." not in name else _dotted(name)
                if inner is not None:
                    return Problem(f"{key}.{name}", inner.template, inner.values, inner.suggestion)
    return None


def _dotted(name: str) -> Problem:
    return Problem(name, gettext_noop("A key inside a value cannot hold a dot: nest it."))


def _parts(value: Json, depth: int) -> Iterator[tuple[int, Any]]:
    yield depth, value
    if depth > MAX_DEPTH:
        return
    match value:
        case Mapping():
            for inner in value.values():
                yield from _parts(inner, depth + 1)
        case list() | tuple():
            for inner in value:
                yield from _parts(inner, depth + 1)


def escape(value: Any) -> Any:
    """The value written so that OmegaConf resolves it to exactly itself, whatever `${…}` it holds.

    OmegaConf reads `\\${` as a literal `${`, and halves the backslashes right before one.
    """
    match value:
        case str():
            return _SUBSTITUTION.sub(lambda found: found.group(1) * 2 + "\\${", value)
        case Mapping():
            return {name: escape(inner) for name, inner in value.items()}
        case list() | tuple():
            return [escape(inner) for inner in value]
    return value


def holds_substitution(value: Json) -> bool:
    """Whether some text in it looks like OmegaConf's `${…}`."""
    return any(isinstance(part, str) and "${" in part for _, part in _parts(value, 0))
