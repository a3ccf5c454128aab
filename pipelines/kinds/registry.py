"""The stage kinds there are."""

from typing import Any

from platform_site.common.errors import Invalid

from .base import InlineKind, RunnerKind, StageKind

_KINDS: dict[str, StageKind] = {}


def register(kind: StageKind) -> None:
    if kind.name in _KINDS and type(_KINDS[kind.name]) is not type(kind):
        raise ValueError(f"two stage kinds are called {kind.name}")
    _KINDS[kind.name] = kind


def kind_of(name: str) -> StageKind:
    try:
        return _KINDS[name]
    except KeyError:
        raise Invalid(
            f"There is no stage kind {name!r}. Known: {', '.join(sorted(_KINDS))}.",
            fields={"task": "unknown"},
        ) from None


def names() -> list[str]:
    return sorted(_KINDS)


def is_inline(name: str) -> bool:
    return isinstance(kind_of(name), InlineKind)


def is_instant(name: str) -> bool:
    kind = kind_of(name)
    return isinstance(kind, InlineKind) and kind.instant


def instant_names() -> list[str]:
    return [name for name in names() if is_instant(name)]


def inline_names() -> list[str]:
    return [name for name in names() if is_inline(name)]


def needs_training_environment(name: str) -> bool:
    kind = kind_of(name)
    return isinstance(kind, RunnerKind) and kind.needs_training_environment


def set_up_names() -> list[str]:
    """The kinds that change the training environment of a host."""
    return [name for name, kind in sorted(_KINDS.items()) if isinstance(kind, RunnerKind) and kind.sets_up_environment]


def summary_of(name: str, result: dict[str, Any] | None) -> str:
    """A stage's result in a few words. Empty while there is none, and for kinds that are no longer there."""
    kind = _KINDS.get(name)
    return kind.summary(result) if kind is not None and result else ""


def runner_kind(name: str) -> RunnerKind:
    """Raises TypeError for a kind that runs in the worker."""
    kind = kind_of(name)
    if not isinstance(kind, RunnerKind):
        raise TypeError(f"{name} does not use a runner")
    return kind
