"""Small file systems of their own, to fill up. Mounting needs root; elsewhere the tests are skipped and say so."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def volume(path: Path, megabytes: int) -> Iterator[Path]:
    """A volume of that size at `path`, gone afterwards."""
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small volume to fill it up")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount a small volume to fill it up: {done.stderr.strip()}")
    try:
        yield path
    finally:
        # Lazily: what still writes there keeps its files and holds nobody.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> Path:
    """Take every byte that is left on the volume of a folder; the file to remove for room."""
    filler = path / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler
