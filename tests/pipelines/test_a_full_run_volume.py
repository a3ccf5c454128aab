"""A run that finds no room fails by that name, on a volume that is really full; and with room the next one runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from environments.models import Host
from pipelines.models import Stage
from pipelines.states import StageStatus
from tests.runtime.runs import until
from tests.volumes import fill, volume

from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)

NO_SPACE = "No space left on the volume of the run folders on local: 0 MB free."


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with volume(tmp_path / "small", 20) as path:
        yield path


@pytest.fixture
def hands_on_it(small: Path, hands: Hands) -> Hands:
    Host.objects.filter(pk=hands.host.pk).update(root=str(small))
    hands.host.refresh_from_db()
    return hands


# Its output goes to the full volume too, so that it says nothing of its own.
WRITES = """
import os, sys
file = open('checkpoint', 'wb', buffering=0)
try:
    while True:
        file.write(b'x' * 65536)
except OSError as error:
    print(error, flush=True)
    os._exit(1)
"""


def test_a_run_that_fills_its_volume_says_so_and_the_next_one_runs(hands_on_it: Hands) -> None:
    stage = hands_on_it.script(WRITES)
    attempt = hands_on_it.launch(stage)

    assert hands_on_it.until(stage) == "failed"

    assert stage.error_message.startswith(NO_SPACE)
    assert "exit 1" in stage.error_message
    assert stage.completed_at is not None
    assert stage.started_at is not None
    assert stage.completed_at > stage.started_at
    stage.pipeline.refresh_from_db()
    assert NO_SPACE in stage.pipeline.error_message
    (Path(attempt.folder) / "checkpoint").unlink()
    after = hands_on_it.script("pass")
    hands_on_it.launch(after)
    assert hands_on_it.until(after) == "completed"


def test_room_that_was_made_before_anybody_looked_does_not_hide_it(hands_on_it: Hands) -> None:
    stage = hands_on_it.script(WRITES)
    attempt = hands_on_it.launch(stage)
    until((Path(attempt.folder) / "exit.json").exists)
    (Path(attempt.folder) / "checkpoint").unlink()

    assert hands_on_it.until(stage) == "failed"
    assert stage.error_message.startswith(NO_SPACE)


def test_a_launch_on_a_full_volume_fails_by_name_and_can_be_tried_again(hands_on_it: Hands, small: Path) -> None:
    filler = fill(small)
    stage = hands_on_it.script("pass", max_retries=0)
    hands_on_it.launch(stage)

    assert hands_on_it.until(stage) == "failed"
    assert "No space left on the volume of" in stage.error_message
    assert "0 MB free" in stage.error_message

    filler.unlink()
    again = hands_on_it.script("pass")
    hands_on_it.launch(again)
    assert hands_on_it.until(again) == "completed"
    assert not Stage.objects.filter(status=StageStatus.STARTING).exists()


def test_a_run_with_room_is_not_blamed_on_the_disk(hands: Hands) -> None:
    stage = hands.script("raise SystemExit(1)")
    hands.launch(stage)
    assert hands.until(stage) == "failed"
    assert stage.error_message == "exit 1 signal None"
