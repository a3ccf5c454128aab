"""`bin/lint`: every static check, all of them even when one fails."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from platform_site.environ import CHECKOUT

from . import setup
from .errors import UpError
from .terminal import Terminal

BIN: Final = setup.VENV / "bin"


def checks() -> dict[str, list[str | Path]]:
    """Name to command, the quick ones first."""
    templates = sorted(
        file for file in CHECKOUT.glob("**/templates/**/*.html") if not {".venv", "node_modules"} & set(file.parts)
    )
    manage: list[str | Path] = [setup.PYTHON, "manage.py"]
    return {
        "ruff": [BIN / "ruff", "check", "."],
        "ruff format": [BIN / "ruff", "format", "--check", "."],
        "djade": [BIN / "djade", "--check", "--target-version", "5.2", *templates],
        "import-linter": [BIN / "lint-imports", "--no-cache"],
        "system check": [*manage, "check", "--deploy", "--fail-level", "WARNING"],
        "migrations": [*manage, "makemigrations", "--check", "--dry-run"],
        "mypy": [BIN / "mypy"],
    }


def main(argv: Sequence[str]) -> int:
    """Run the checks named in `argv`, or all. Returns 1 when one failed."""
    terminal = Terminal()
    try:
        setup.prepare(terminal, tests=True)
    except UpError as error:
        terminal.warn(str(error))
        return 1
    chosen = {name: command for name, command in checks().items() if not argv or name in argv}
    failed = []
    with tempfile.TemporaryDirectory(prefix="anneal-lint-") as data:
        env = {name: value for name, value in os.environ.items() if not name.startswith("ANNEAL_")}
        env["ANNEAL_DATA_DIR"] = data
        for name, command in chosen.items():
            terminal.say(f"== {name}")
            if subprocess.run(command, cwd=CHECKOUT, env=env, check=False).returncode:
                failed.append(name)
    terminal.say(f"Failed: {', '.join(failed)}" if failed else "All checks passed")
    return 1 if failed else 0
