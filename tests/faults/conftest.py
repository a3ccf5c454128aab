"""One platform for the faults of a module, on real training; and the hands that do a platform's work step by step."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.conftest import hands, machine

from .training_platform import PYTHON, TrainingPlatform

__all__ = ["hands", "machine", "platform"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingPlatform]:
    if not Path(PYTHON).exists() and not os.environ.get("CI"):
        pytest.skip("the training environment is not set up: environments/setup_local_env.sh training")
    with TrainingPlatform(tmp_path_factory.mktemp("platform") / "data folder") as started:
        yield started
