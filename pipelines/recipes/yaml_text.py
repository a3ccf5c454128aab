"""Settings as YAML, for people: read without running or repeating anything, written so that reading gives the same."""

import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

import yaml

from .spec import Json, gettext_noop

LONGEST: Final = 200_000
DEEPEST: Final = 20


class YamlProblem(ValueError):
    """The text is no settings. `template` is the untranslated sentence that says where and why; `values` fill it."""

    def __init__(self, template: str, **values: object) -> None:
        super().__init__(template % values)
        self.template = template
        self.values = values


class _Loader(yaml.SafeLoader):
    """Refuses aliases, which can make a megabyte out of a line, and keys that stand twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise YamlProblem(gettext_noop("Line %(line)d: aliases (*name) are not taken."), line=line)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for name, _value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise YamlProblem(gettext_noop("Line %(line)d: a key is a word."), line=name.start_mark.line + 1)
            if name.value in seen:
                line = name.start_mark.line + 1
                raise YamlProblem(gettext_noop("Line %(line)d: %(key)s stands there twice."), line=line, key=name.value)
            seen.add(name.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quoted and escaped where a reader would fold or drop a character."""
    plain = text.isprintable() and not text.isspace()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


class _Lines(dict[str, Any]):
    """A map that is written one key a line; what stands in it, on one line each."""


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(
    _Lines, lambda dumper, lines: dumper.represent_mapping("tag:yaml.org,2002:map", lines.items(), flow_style=False)
)


_SCALARS: Final = {
    # 1e-5 is a number for everybody but YAML 1.1; its dates, base 60, octals and `no` for false help nobody here.
    "null": (r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    "float": (r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
}
for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _name, (_pattern, _first) in _SCALARS.items():
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), _first)


def read(text: str) -> dict[str, Json]:
    """Dotted key -> value. Nested maps and dotted keys may be mixed. Raises YamlProblem."""
    if len(text) > LONGEST:
        raise YamlProblem(gettext_noop("Longer than %(limit)d characters."), limit=LONGEST)
    found = _load(text)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise YamlProblem(gettext_noop("Settings are lines of key: value."))
    flat: dict[str, Json] = {}
    for key, value in _flat(found, "", 0):
        if key in flat:
            raise YamlProblem(gettext_noop("%(key)s stands there twice, nested and dotted."), key=key)
        flat[key] = value
    return flat


def read_value(text: str) -> Json:
    """One value, as it would stand behind a key. Raises YamlProblem."""
    found = _load(text)
    if isinstance(found, str | int | float | bool | list | dict | None):
        return found
    raise YamlProblem(gettext_noop("%(type)s is not taken."), type=type(found).__name__)


def write_value(value: Json) -> str:
    """On one line; `read_value` gives it back."""
    return (
        yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10_000_000, allow_unicode=True)
        .removesuffix("\n")
        .removesuffix("\n...")
    )


def _load(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, narrowed further
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        why = error.problem or error.context
        raise YamlProblem(gettext_noop("Line %(line)d: %(problem)s."), line=line, problem=why) from None
    except YamlProblem:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlProblem(gettext_noop("This is no YAML: %(problem)s"), problem=error) from None


def _flat(node: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Json]]:
    if depth > DEEPEST:
        raise YamlProblem(gettext_noop("Nested too deeply."))
    for name, value in node.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{key}.", depth + 1)
        elif isinstance(value, str | int | float | bool | list | dict | None):
            yield key, value
        else:
            raise YamlProblem(gettext_noop("%(key)s: %(type)s is not taken."), key=key, type=type(value).__name__)


def write(params: Mapping[str, Json]) -> str:
    """One dotted key a line, in order."""
    if not params:
        return ""
    lines = _Lines(sorted(params.items()))
    return yaml.dump(lines, Dumper=_Dumper, default_flow_style=True, width=10_000_000, allow_unicode=True)
