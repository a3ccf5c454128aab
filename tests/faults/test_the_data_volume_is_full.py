"""The volume with all of the platform's data is full: it says so, loses nothing, and goes on once there is room."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.volumes import fill, volume

from .training_platform import PYTHON, TrainingPlatform

pytestmark = pytest.mark.timeout(400)

FULL = "No space left on the volume of the data folder: 0 MB free."


@pytest.fixture
def on_a_small_volume(tmp_path: Path) -> Iterator[TrainingPlatform]:
    if not Path(PYTHON).exists() and not os.environ.get("CI"):
        pytest.skip("the training environment is not set up: environments/setup_local_env.sh training")
    with volume(tmp_path / "small", 400) as small, TrainingPlatform(small / "data") as platform:
        yield platform


def test_it_is_named_and_nothing_is_lost(on_a_small_volume: TrainingPlatform) -> None:
    platform = on_a_small_volume
    first = platform.start()
    platform.until(first)
    platform.assert_sound(first)
    before = platform.stored(first)

    filler = fill(platform.data)

    status, parts = platform.request("GET", "/readyz")
    assert (status, parts["status"]) == (503, "unavailable")
    assert parts["disk"].startswith(FULL)
    assert platform.request("GET", "/healthz")[0] == 200
    made, refused = post_until_refused(platform)
    assert (refused["code"], refused["message"].startswith(FULL)) == ("disk_full", True)
    status, answer = platform.call("GET", f"jobs/{first}/")
    assert status == 200 or (status, answer["error"]["code"]) == (503, "disk_full")

    filler.unlink()

    platform.wait(platform.ready, 30, "the platform to be ready again")
    assert platform.stored(first) == before
    second = platform.start()
    assert platform.api("GET", "jobs/")["count"] == len(made) + 2, "what was answered is there, what was refused is not"
    for uuid in made:
        assert platform.call("POST", f"jobs/{uuid}/cancel/")[0] in (202, 409), "the books of each can be written on"
    for uuid in made:
        job = platform.until(uuid, timeout_s=60)
        assert job["status"] in ("cancelled", "completed") or "No space left" in job["error_message"]
        assert platform.runs(uuid) == []
    platform.until_step(second, 1)


def post_until_refused(platform: TrainingPlatform) -> tuple[list[str], dict[str, Any]]:
    """Runs made in the room that the database's files still had within them, and the first refusal."""
    made: list[str] = []
    for _try in range(40):
        status, answer = platform.call("POST", "jobs/", {"recipe": "tiny-sft", "name": "n" * 60})
        if status != 201:
            assert status == 503, answer
            return made, answer["error"]
        made.append(answer["uuid"])
    raise AssertionError("nothing was refused on a full volume")
