"""The rule that the documentation makes works as it stands there."""

import importlib.util
import re
from pathlib import Path

from monitoring.diagnostics.core import Severity
from monitoring.diagnostics.engine import State, advance
from monitoring.diagnostics.rules import RULES

from .series import samples

ROOT = Path(__file__).resolve().parents[3]


def test_the_rule_of_the_documentation_fires_and_stays_silent(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/adding-a-rule.md").read_text(), re.DOTALL)
    path = tmp_path / "idle_rate.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("idle_rate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rules = {**RULES, module.RULE.name: module.RULE}
    (found,) = advance(State(), samples({"train/lr": [1e-12] * 25}), rules).findings
    assert (found.rule, found.start_step, found.severity) == ("idle_rate", 20, Severity.WARNING)
    assert advance(State(), samples({"train/lr": [1e-12] * 19}), rules).findings == ()


def test_every_rule_is_in_the_documentation() -> None:
    text = (ROOT / "docs/diagnostics.md").read_text()
    assert [name for name in RULES if f"| `{name}` |" not in text] == []
