"""Prints `version.json`, the exact versions of each environment, from the locks. Stdlib only.

`requirements/lock_training.sh` calls it; a test compares. `packages` are needed everywhere; what only some
platforms need stands in `conditional` with the versions it may have.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
_LINE = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)\s*(;[^\\]*)?\\?$")
_HASH = re.compile(r"^\s+--hash=(sha256:[0-9a-f]{64})")


def read_lock(name: str) -> dict[str, Any]:
    """{packages: {name: version}, conditional: {name: [version]}} of one lock."""
    packages: dict[str, str] = {}
    conditional: dict[str, list[str]] = {}
    for line in (REQUIREMENTS / f"{name}.txt").read_text().splitlines():
        if match := _LINE.match(line):
            package, version, marker = match.groups()
            if marker:
                conditional.setdefault(package.lower(), []).append(version)
            else:
                packages[package.lower()] = version
    return {"packages": packages, "conditional": conditional}


def hashes_of(name: str, package: str) -> list[str]:
    """The hashes that a lock accepts for a package."""
    found: list[str] = []
    inside = False
    for line in (REQUIREMENTS / f"{name}.txt").read_text().splitlines():
        if match := _LINE.match(line):
            inside = match[1].lower() == package
        elif inside and (match := _HASH.match(line)):
            found.append(match[1])
    return found


def versions() -> dict[str, Any]:
    training = {kind: read_lock(f"training-{kind}") for kind in ("cpu", "cuda")}
    return {
        "python": ">=3.11",
        "verl": {
            "version": training["cpu"]["packages"]["verl"],
            "hashes": hashes_of("training-cpu", "verl"),
        },
        "manager": read_lock("manager"),
        "training": training,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(versions(), indent=1, sort_keys=True) + "\n")
