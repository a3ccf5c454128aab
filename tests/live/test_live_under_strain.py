"""Redis away, slow readers, many sockets, many changes: nobody loses a point, nothing piles up."""

import threading
import time
from typing import Any

import pytest
from django.db import connections
from django.db.backends.signals import connection_created
from pytest_django.fixtures import Settings

from platform_site import valkey
from platform_site.common.models import User

from .conftest import Lines, Run, open_databases
from .test_job_socket import is_step, live, points


def test_points_come_while_redis_is_away_and_after_it_is_back(
    run: Run, lines: Lines, alice: User, valkey_server: valkey.Server
) -> None:
    run.log_and_sync(1, loss=1)
    line = lines.program(live(run), alice)
    seen = line.until(is_step(1))
    valkey_server.stop()
    try:
        run.log_and_sync(2, loss=2)
        seen += line.until(is_step(2), timeout=8)
        late = lines.program(live(run), alice)
        assert points(late.until(is_step(2))) == [("loss", 1, 1), ("loss", 2, 2)]
    finally:
        valkey_server.start()
    for step in range(3, 8):
        run.log_and_sync(step, loss=step)
        time.sleep(0.3)
    seen += line.until(is_step(7))
    assert points(seen) == [("loss", step, step) for step in range(1, 8)]


def test_a_lost_announcement_is_made_good_by_comparing_versions(
    run: Run, lines: Lines, alice: User, settings: Settings
) -> None:
    line = lines.program(live(run), alice)
    line.until(lambda m: m["type"] == "progress")
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"  # for who announces; the web process listens already
    run.log_and_sync(5, loss=5)
    assert points(line.until(is_step(5), timeout=8)) == [("loss", 5, 5)]


def test_100_open_sockets_hold_no_database_connection(run: Run, lines: Lines, alice: User) -> None:
    opened = [lines.program(live(run), alice) for _ in range(100)]
    for line in opened:
        line.until(lambda m: m["type"] == "progress")
    run.log_and_sync(1, loss=1)
    for line in opened:
        line.until(is_step(1))
    connections.close_all()
    end = time.monotonic() + 5
    while open_databases() and time.monotonic() < end:  # what looked for them gives its connection back
        time.sleep(0.1)
    assert open_databases() == 0


def test_a_change_is_loaded_once_for_all_who_look(run: Run, lines: Lines, alice: User) -> None:
    pages = [lines.page(live(run, ""), alice) for _ in range(12)]
    programs = [lines.program(live(run), alice) for _ in range(12)]
    for page in pages:
        page.until(lambda html: "job-actions" in html)
    for program in programs:
        program.until(lambda m: m["type"] == "progress")
    looks = 0

    def count(**kwargs: Any) -> None:
        nonlocal looks
        looks += threading.current_thread().name.startswith("live")

    connection_created.connect(count)
    try:
        run.log_and_sync(1, loss=1)
        for page in pages:
            page.until(lambda html: "metric-feed" in html)
            page.until(lambda html: "job-progress" in html)
        for program in programs:
            program.until(is_step(1))
    finally:
        connection_created.disconnect(count)
    # Points, state, and perhaps a comparing of versions in between.
    assert 2 <= looks <= 4


def test_pushes_keep_their_pace(run: Run, lines: Lines, alice: User) -> None:
    program = lines.program(live(run), alice)
    program.until(lambda m: m["type"] == "progress")
    page = lines.page(live(run, ""), alice)
    page.until(lambda html: "job-actions" in html)
    started = time.monotonic()
    step = 0
    while time.monotonic() - started < 2.0:
        step += 1
        run.log_and_sync(step, loss=step)
    took = time.monotonic() - started
    seen = program.until(is_step(step))
    assert points(seen) == [("loss", s, s) for s in range(1, step + 1)]
    metrics = sum(message["type"] == "metrics" for message in seen)
    assert 5 <= metrics <= 20 * took + 4
    fragments = sum("job-progress" in html for html in page.during(1.0))
    assert fragments <= 2 * (took + 1) + 2


def test_the_first_change_after_a_pause_comes_at_once(run: Run, lines: Lines, alice: User) -> None:
    line = lines.program(live(run), alice)
    line.until(lambda m: m["type"] == "progress")
    waits = []
    for step in range(1, 8):
        time.sleep(0.6)
        run.log(step, loss=step)
        started = time.perf_counter()
        run.sync()
        line.until(lambda m: m["type"] == "metrics")
        waits.append(time.perf_counter() - started)
    assert sorted(waits)[len(waits) // 2] < 0.2


def test_a_slow_reader_holds_up_nobody(run: Run, lines: Lines, alice: User) -> None:
    slow = lines.program(live(run), alice, max_queue=1)
    fast = lines.program(live(run), alice)
    fast.until(lambda m: m["type"] == "progress")
    last = 60
    for step in range(1, last + 1):
        run.log_and_sync(step, **{f"metric/{i:04}": float(step * i) for i in range(400)})
    quick = points(fast.until(is_step(last), timeout=30))
    assert len(quick) == last * 400
    assert sorted(points(slow.until(is_step(last), timeout=30))) == sorted(quick)


@pytest.mark.parametrize("count", [30])
def test_all_of_many_get_every_point(run: Run, lines: Lines, alice: User, count: int) -> None:
    opened = [lines.program(live(run), alice) for _ in range(count)]
    for step in range(1, 20):
        run.log_and_sync(step, loss=step)
    for line in opened:
        assert points(line.until(is_step(19))) == [("loss", step, step) for step in range(1, 20)]
