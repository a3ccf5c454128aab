"""Makers of runs; whatever a test leaves running is ended."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_runtime import reaper

from .runs import Run


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """`make_run(argv, **command)`, in a folder with a space in its name."""
    made: list[Run] = []

    def make(argv: list[str], **changes: Any) -> Run:
        made.append(Run(tmp_path / "data folder", argv, **changes))
        return made[-1]

    yield make
    for run in made:
        assert reaper.kill(run.folder.path) == []


@pytest.fixture
def run_python(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """`run_python(code, **command)`: the run of a few lines of Python, started."""
    made: list[Run] = []

    def make(code: str, **changes: Any) -> Run:
        made.append(Run.of_python(tmp_path / "data folder", code, **changes))
        assert made[-1].start() == (0, "")
        return made[-1]

    yield make
    for run in made:
        assert reaper.kill(run.folder.path) == []
