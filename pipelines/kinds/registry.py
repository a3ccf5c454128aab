"""The stage kinds there are."""

from platform_site.common.errors import Invalid

from .base import StageKind

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
