"""From queue to end on a host that is reached over SSH: the same tests that a run on this machine passes."""

from pathlib import Path

import pytest

from environments.models import Host
from environments.transports import for_host
from tests.pipelines import builders
from tests.pipelines.conftest import Hands, hands
from tests.pipelines.test_a_run_from_queue_to_end import *  # noqa: F403 - all of its tests, on another host

from . import sshd
from .hosts import MakeHost

__all__ = ["hands"]


@pytest.fixture
def machine(make_host: MakeHost, account: sshd.Account, tmp_path: Path) -> Host:
    builders.queues(slots=4)
    return make_host(root=f"{account.home}/{tmp_path.name}")


def test_a_folder_that_cannot_be_written_is_one_clear_error(hands: Hands) -> None:
    for_host(hands.host).write(f"{hands.host.root}/runs", b"in the way")
    stage = hands.script("pass")
    hands.launch(stage)

    assert hands.status(stage) == "failed"
    assert "a file stands where a folder should be" in stage.error_message
