"""`{{ stages.NAME.result.KEY }}` in the parameters of a stage: a plain look-up in what an earlier stage left. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

REFERENCE: Final = re.compile(r"\{\{\s*stages\.([a-z0-9][a-z0-9_-]{0,62})\.result\.([A-Za-z0-9_./-]+)\s*\}\}")
_BRACES: Final = re.compile(r"\{\{.*?\}\}|\{\{|\}\}", re.DOTALL)


class LookupFailed(ValueError):
    """A reference that leads nowhere. The message says which, and what there is."""


@dataclass(frozen=True)
class Reference:
    """`where` is the dotted place of the text in the parameters."""

    where: str
    stage: str
    key: str


def references(params: Mapping[str, Any]) -> list[Reference]:
    """Every reference in `params`, however deep."""
    return [
        Reference(where, match[1], match[2]) for where, text in _texts(params) for match in REFERENCE.finditer(text)
    ]


def malformed(params: Mapping[str, Any]) -> list[str]:
    """Places whose double braces are no reference."""
    return [where for where, text in _texts(params) if _BRACES.search(REFERENCE.sub("", text))]


def resolve(params: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`params` with every reference replaced. A text that is one reference alone becomes the value itself, with its
    type; within a longer text it becomes its words. Raises LookupFailed."""
    return {key: _resolved(value, results) for key, value in params.items()}


def _resolved(value: Any, results: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value.strip())
        if whole:
            return _find(whole[1], whole[2], results)
        return REFERENCE.sub(lambda match: str(_find(match[1], match[2], results)), value)
    if isinstance(value, Mapping):
        return {key: _resolved(item, results) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, results) for item in value]
    return value


def _find(stage: str, key: str, results: Mapping[str, Mapping[str, Any]]) -> Any:
    if stage not in results:
        raise LookupFailed(f"stages.{stage}: this stage needs no stage of that name.")
    found: Any = results[stage]
    if isinstance(found, Mapping) and key in found:
        # Names of metrics have dots and slashes of their own.
        return found[key]
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            keys = ", ".join(sorted(results[stage])) or "nothing"
            raise LookupFailed(f"stages.{stage}.result.{key}: not there. Its result has: {keys}.")
        found = found[part]
    return found


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{where}.{index}")
