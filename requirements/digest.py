"""The digest of a requirements file and of all that it includes by `-r`, so that a lock can name its sources."""

import hashlib
import sys
from pathlib import Path


def sources(file: Path) -> list[Path]:
    """The file and what it includes, depth first."""
    found = [file]
    for line in file.read_text().splitlines():
        if line.startswith("-r "):
            found += sources(file.parent / line[3:].strip())
    return found


def digest(file: Path) -> str:
    """A short digest over the requirement lines; comments and blank lines do not count."""
    lines = [
        line.strip()
        for source in sources(file)
        for line in source.read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.stdout.write(digest(Path(sys.argv[1])))
