"""From queue to end on a host that is reached over SSH: the same tests that a run on this machine passes."""

from pathlib import Path

import pytest

from environments.models import Host
from tests.pipelines import builders
from tests.pipelines.conftest import hands
from tests.pipelines.test_a_run_from_queue_to_end import *  # noqa: F403 - all of its tests, on another host

from .hosts import MakeHost

__all__ = ["hands"]


@pytest.fixture
def machine(db: None, make_host: MakeHost, tmp_path: Path) -> Host:
    builders.queues(slots=4)
    return make_host(root=f"{make_host().root}/{tmp_path.name}")
