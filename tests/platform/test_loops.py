"""The scheduler ticks while it holds the lease; the watcher tells runs that wrote from everything else."""

import os
import threading
import time
import uuid
from pathlib import Path

import pytest
from django.db import connection

from platform_site.common.messages import connect
from platform_site.loops import scheduler, watcher
from platform_site.loops.scheduler import Lease
from tests.harness import wait_until

RUN = "123e4567-e89b-42d3-a456-426614174000"


def test_one_of_two_schedulers_holds_the_lease_and_the_other_follows() -> None:
    with connect() as redis:
        first, second = Lease(redis, ttl_ms=300), Lease(redis, ttl_ms=300)
        assert first.hold()
        assert not second.hold()
        assert first.hold()  # renewed
        time.sleep(0.35)  # the first died
        assert second.hold()
        assert not first.hold()
        first.release()  # wakes late, and takes nothing away
        assert not first.hold()
        second.release()
        assert first.hold()


def _open_database_files() -> int:
    links = (os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return sum(link == str(connection.settings_dict["NAME"]) for link in links)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="counts the open files of SQLite")
def test_the_scheduler_ticks_and_holds_no_database_connection_between_ticks() -> None:
    connection.close()
    before = _open_database_files()  # of threads that other tests left waiting
    stopping = threading.Event()
    thread = threading.Thread(target=scheduler.run, args=(stopping,))
    thread.start()
    seen = []
    try:
        with connect() as redis:
            wait_until(lambda: redis.exists(scheduler.LEASE), 5)
        for _ in range(110):
            seen.append(_open_database_files() > before)
            time.sleep(0.02)
    finally:
        stopping.set()
        thread.join(5)
    assert not thread.is_alive()
    assert sum(seen) < len(seen) / 2, seen
    with connect() as redis:
        assert not redis.exists(scheduler.LEASE)


@pytest.mark.parametrize(
    ("path", "run"),
    [
        (f"/d/runs/{RUN}/attempt-1/metrics/{RUN}_metrics.jsonl", RUN),
        (f"/d/runs/{RUN}/attempt-12/metrics/{RUN}_status.json", RUN),
        (f"/d/runs/{RUN}/attempt-1/exit.json", RUN),
        (f"/d/runs/{RUN}/attempt-1/process.json", RUN),
        (f"/d/runs/{RUN}/attempt-1/claim", RUN),
        (f"/d/runs/{RUN}/attempt-1/output.log", None),
        (f"/d/runs/{RUN}/attempt-1/metrics/{RUN}_metrics.jsonl.tmp", None),
        (f"/d/runs/{RUN}/checkpoints/attempt-1/global_step_2/exit.json", None),
        ("/d/runs/not-a-uuid/attempt-1/exit.json", None),
    ],
)
def test_only_files_that_say_something_name_their_run(path: str, run: str | None) -> None:
    assert watcher.run_of(path) == run


def test_writes_are_told_at_once_also_in_folders_made_later_and_in_batches(tmp_path: Path) -> None:
    told: list[tuple[float, list[str]]] = []
    stopping = threading.Event()

    def follow() -> None:
        for runs in watcher.changed_runs(tmp_path, stopping):
            told.append((time.monotonic(), runs))

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        time.sleep(0.3)
        name = str(uuid.uuid4())
        folder = tmp_path / name / "attempt-1" / "metrics"
        folder.mkdir(parents=True)
        time.sleep(0.2)
        file = folder / f"{name}_metrics.jsonl"
        took = []
        for number in range(10):
            time.sleep(0.15)
            told.clear()
            start = time.monotonic()
            with file.open("a") as lines:
                lines.write(f"{number}\n")
            while not told and time.monotonic() - start < 2:
                time.sleep(0.002)
            assert told[0][1] == [name]
            took.append(told[0][0] - start)
        assert sorted(took)[5] < 0.1, took

        told.clear()
        end = time.monotonic() + 1
        while time.monotonic() < end:  # a thousand writes a second are some twenty answers
            with file.open("a") as lines:
                lines.write("x\n")
            time.sleep(0.001)
        assert 3 <= len(told) <= 25
    finally:
        stopping.set()
        thread.join(5)
    assert not thread.is_alive()
