"""The rules, found by file: each module here has one rule, `RULE`."""

import importlib
import pkgutil
from collections.abc import Mapping

from monitoring.diagnostics.core import Rule


def _found() -> dict[str, Rule]:
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    rules = [importlib.import_module(f"{__name__}.{name}").RULE for name in modules]
    return {rule.name: rule for rule in rules}


RULES: Mapping[str, Rule] = _found()


def rules_for(algorithm: str) -> dict[str, Rule]:
    """Those that can tell something of a run; of an algorithm that nobody named, all."""
    return {name: rule for name, rule in RULES.items() if not algorithm or algorithm in rule.algorithms}
