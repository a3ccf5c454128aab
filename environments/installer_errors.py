"""Why pip or uv failed, in one line for people. Stdlib only."""

import re
from pathlib import Path
from typing import Final

_UNREACHABLE: Final = "|".join(
    [
        "Could not resolve host",
        "Name or service not known",
        "Temporary failure in name resolution",
        "dns error",
        "Failed to establish a new connection",
        "Network is unreachable",
        "Connection refused",
        "error sending request",
    ]
)
_NO_VENV: Final = "this Python has no venv module (on Debian and Ubuntu: apt install python3-venv)"
_CAUSES: Final = (
    (r"No space left on device|Disk quota exceeded", "the disk is full"),
    (_UNREACHABLE, "the package index cannot be reached"),
    (r"ensurepip is not available|No module named ensurepip", _NO_VENV),
    (r"DO NOT MATCH THE HASHES|Hash mismatch", "a downloaded package is not the one that was recorded"),
    (r"No matching distribution found for (\S+)", r"there is no build of \1 for this machine and this Python"),
)


def cause(log: Path, begin: int) -> str:
    """Why the last program failed, in one line, from what it wrote to the log after `begin`."""
    with log.open("rb") as file:
        file.seek(begin)
        said = file.read()[-20_000:].decode(errors="replace")
    for pattern, meaning in _CAUSES:
        if match := re.search(pattern, said, re.IGNORECASE):
            return match.expand(meaning) if match.groups() else meaning
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(error|.*Error)\b", line, re.IGNORECASE)]
    return (errors or lines or ["it said nothing"])[-1][:300]
