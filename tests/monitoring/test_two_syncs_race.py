"""Syncs at the same time: every line once, whoever wins."""

import threading

import pytest
from django.db import connection, connections

from environments.models import Host
from environments.transports import for_host
from monitoring.services.sync import sync_stream

from .conftest import Run
from .lines import append, line
from .places import make_run
from .stored import assert_store_is_whole, stored

__all__ = ["make_run"]


@pytest.mark.django_db(transaction=True)
def test_syncs_at_the_same_time_never_double(run: Run, place: Host) -> None:
    path = run.attempt()
    total, stop = 300, threading.Event()
    counted: list[int] = []
    failures: list[BaseException] = []

    def sync_until_the_end() -> None:
        try:
            while not stop.is_set():
                counted.append(sync_stream(run.stream_id, for_host(place)).new_steps)
            counted.append(sync_stream(run.stream_id, for_host(place)).new_steps)
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=sync_until_the_end) for _ in range(4)]
    for thread in threads:
        thread.start()
    text = b"".join(line(step) for step in range(total))
    for start in range(0, len(text), 137):
        append(path, text[start : start + 137])
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum(counted) == total
    assert list(stored(run)) == list(range(total))
    assert run.segment().offset == path.stat().st_size
    assert run.segment().bad_lines == 0
    assert_store_is_whole(run)
    assert connection.vendor in {"sqlite", "postgresql"}
