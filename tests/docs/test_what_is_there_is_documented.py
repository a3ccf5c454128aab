"""A setting, a route or a command that no page of the documentation names fails here."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver

from monitoring.diagnostics.core import Rule
from monitoring.diagnostics.rules import RULES

ROOT = Path(__file__).resolve().parents[2]
OWN = {"platform_site", "platform_site.common", "environments", "datasets", "monitoring", "notifications", "pipelines"}


def addresses(patterns: list[URLPattern | URLResolver], before: str = "") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, before + str(pattern.pattern))
        else:
            yield before + str(pattern.pattern)


def named(address: str) -> str:
    """`jobs/<uuid:job_id>/` as people write it: `jobs/{…}/`."""
    return re.sub(r"<[^>]+>", "{}", address)


ROUTES = sorted({named(address) for address in addresses(get_resolver().url_patterns)})
API_ROUTES = [route.removeprefix("api/v1/") for route in ROUTES if route.startswith("api/v1/") and "^" not in route]
PAGES = [route for route in ROUTES if not route.startswith(("api/", "admin", "ws/", "static")) and "^" not in route]


def text_of(*names: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", "\n".join((ROOT / name).read_text() for name in names))


@pytest.mark.parametrize("route", API_ROUTES)
def test_every_api_route_is_in_the_api_page(route: str) -> None:
    assert f"`{route}`" in text_of("docs/api.md")


@pytest.mark.parametrize("route", PAGES)
def test_every_page_is_in_the_interface_page(route: str) -> None:
    assert f"`/{route}`" in text_of("docs/interface.md", "docs/operations.md")


@pytest.mark.parametrize("command", sorted(name for name, app in get_commands().items() if app in OWN))
def test_every_command_is_in_the_operations_page(command: str) -> None:
    assert f"manage.py {command}" in text_of("docs/operations.md")


def settings_read() -> list[str]:
    sources = [*ROOT.glob("platform_site/**/*.py"), *ROOT.glob("environments/*.py"), *ROOT.glob("environments/*.sh")]
    found = {name for source in sources for name in re.findall(r"ANNEAL_[A-Z_]*[A-Z]\b", source.read_text())}
    return sorted(found)


@pytest.mark.parametrize("setting", settings_read())
def test_every_setting_is_in_the_operations_page(setting: str) -> None:
    assert f"`{setting}`" in text_of("docs/operations.md")


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule.limits], ids=lambda rule: rule.name)
def test_every_limit_of_a_rule_is_in_the_table_of_limits(rule: Rule) -> None:
    table = (ROOT / "docs" / "diagnostics.md").read_text().partition("### Limits")[2].partition("\n## ")[0]
    (row,) = (line for line in table.splitlines() if line.startswith(f"| `{rule.name}` |"))
    for name, value in rule.limits.items():
        assert re.search(rf"`{name}` {value:g}(?![.\d]*\d)", row), f"{rule.name}.{name} is {value:g}"


def test_every_key_that_goes_somewhere_is_in_help_and_interface_page() -> None:
    bases = "".join(path.read_text() for path in (ROOT / "templates").rglob("*.html"))
    keys = set(re.findall(r'data-go="(\w)"', bases))
    told = re.search(r"`g` then ((?:`\w`,? ?)+)", text_of("docs/interface.md"))
    assert told is not None
    assert set(re.findall(r"`(\w)`", told[1])) == keys
    assert set(re.findall(r"<kbd>g</kbd> <kbd>(\w)</kbd>", text_of("templates/partials/keys.html"))) == keys
