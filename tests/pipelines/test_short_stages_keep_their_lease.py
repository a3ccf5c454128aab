"""A stage that runs in the worker is never seen to run without its lease, and keeps it while the database is away."""

import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from pipelines.kinds import InlineKind, Verdict, registry
from pipelines.models import Attempt, Stage
from pipelines.services import dispatch, launch, leases
from platform_site.common.models import User

from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)


class PatientKind(InlineKind):
    """Works until its lease has been renewed once after the database was locked."""

    name = "patient"
    queue = "default"

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        return {}

    def run(self, stage: Stage, params: dict[str, Any]) -> Verdict:
        first = lease_of(stage)
        time.sleep(leases.RENEW_S - 1)
        other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(2)
        other.execute("ROLLBACK")
        other.close()
        end = time.monotonic() + leases.RENEW_S + 2
        while lease_of(stage) == first and time.monotonic() < end:
            time.sleep(0.1)
        return Verdict(lease_of(stage) != first, "the lease was not renewed")


registry.register(PatientKind())


def lease_of(stage: Stage) -> datetime | None:
    return Attempt.objects.filter(stage=stage).values_list("lease_until", flat=True).get()


def queued(hands: Hands, kind: str) -> Stage:
    stage = hands.script("pass")
    Stage.objects.filter(pk=stage.pk).update(kind=kind, queue="default", params={})
    dispatch.dispatch()
    return stage


def test_a_worker_that_dies_between_start_and_lease_has_not_started(hands: Hands) -> None:
    stage = queued(hands, "noop")

    def die(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE") and "lease_until" in sql:
            raise OperationalError("gone")
        return execute(sql, *rest)

    with connection.execute_wrapper(die), pytest.raises(OperationalError):
        launch.launch(hands.attempt(stage).pk)

    assert hands.status(stage) == "starting"


@pytest.mark.skipif(connection.vendor != "sqlite", reason="locks a whole database file")
def test_the_lease_is_renewed_again_after_the_database_was_away(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = queued(hands, "patient")
    monkeypatch.setitem(connections.settings["default"]["OPTIONS"], "timeout", 0.2)

    launch.launch(hands.attempt(stage).pk)

    assert hands.status(stage) == "completed"
