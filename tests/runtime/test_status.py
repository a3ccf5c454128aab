"""What a program without metrics tells of its progress."""

import time

import pytest

from platform_runtime.contract import RunFolder, StatusFile
from platform_runtime.status import Status


@pytest.fixture
def run(tmp_path):
    return RunFolder(str(tmp_path), "u")


def told(run):
    with open(run.status, "rb") as file:
        return StatusFile.from_bytes(file.read())


def test_loading_does_not_count_into_the_pace(run):
    status = Status(run, unit="samples", total=10)
    time.sleep(0.5)
    began = time.monotonic()
    status.done(2)
    status.end()
    assert told(run).pace_s is None, "one moment is no pace"
    time.sleep(0.2)
    status.done(4)
    status.end()
    pace = told(run).pace_s
    assert pace is not None
    assert 0.1 <= pace <= (time.monotonic() - began) / 2
    assert (told(run).step, told(run).target_step, told(run).unit) == (4, 10, "samples")


def test_a_status_file_that_tells_no_pace_is_read(run):
    Status(run, unit="rows").end()
    known = told(run)
    assert known.pace_s is None
    assert known.state == "finished"


def test_what_is_not_even_tells_no_pace(run):
    status = Status(run, unit="percent", total=100, even=False)
    status.done(10)
    time.sleep(0.1)
    status.done(50)
    status.end(failed=True)
    assert (told(run).step, told(run).pace_s, told(run).state) == (50, None, "failed")
