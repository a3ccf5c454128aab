"""Processes that write at the same time wait for each other: nobody hears of a lock, and no write is lost."""

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest
from django.db import connection, connections

from environments.models import Host
from pipelines.models import Stage, Transition

from . import builders
from .racing import assert_the_log_is_legal
from .writer import write

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 3


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the one writer at a time of SQLite is what it is about")
def test_nobody_hears_of_a_lock_and_nothing_is_lost(machine: Host) -> None:
    builders.person()
    # Forked, so that all begin at once; and no connection may be in two processes.
    connections.close_all()
    roles = ["web", "web", "observer", "observer"]
    with ProcessPoolExecutor(len(roles), multiprocessing.get_context("fork")) as pool:
        writers = [pool.submit(write, role, SECONDS, machine.pk) for role in roles]
        did = sum((writer.result(timeout=60) for writer in writers), Counter[str]())

    assert all(did[what] for what in ("started", "cancelled", "ran", "completed")), did
    machine.refresh_from_db()
    assert machine.failures == did["turns"]
    assert Stage.objects.count() == did["started"]
    assert Stage.objects.filter(status="completed").count() == did["completed"]
    moves = Counter(Transition.objects.filter(stage__isnull=False).values_list("stage_id", flat=True))
    first = Stage._meta.get_field("version").get_default()
    assert {stage.pk: stage.version - first for stage in Stage.objects.all()} == dict(moves)
    assert_the_log_is_legal()
