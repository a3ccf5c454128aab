"""The database is away for longer than any time-out, in the middle of a real training: nothing is judged meanwhile."""

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from platform_site.up.postgresql import Cluster, find_programs

from .training_platform import TrainingPlatform

pytestmark = pytest.mark.timeout(300)


def post(platform: TrainingPlatform, timeout_s: float) -> tuple[int, dict[str, Any], float]:
    """Status, error and seconds of a request that has to write."""
    request = Request(
        f"{platform.url}/api/v1/jobs/",
        method="POST",
        data=json.dumps({"recipe": "tiny-sft"}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Token {platform.token()}"},
    )
    began = time.monotonic()
    with pytest.raises(HTTPError) as refused:
        build_opener(ProxyHandler({})).open(request, timeout=timeout_s)
    with refused.value as answer:
        return answer.code, json.loads(answer.read())["error"], time.monotonic() - began


def test_sqlite_is_locked_for_longer_than_anybody_waits(platform: TrainingPlatform) -> None:
    uuid = platform.start()
    platform.until_step(uuid, 2)
    before = platform.api("GET", "jobs/")["count"]
    other = sqlite3.connect(platform.data / "anneal.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    try:
        status, error, seconds = post(platform, 40)
        assert (status, error["code"]) == (503, "unavailable")
        assert error["message"] == "The database does not answer. Try again in a moment."
        assert seconds < 35
        assert platform.job(uuid)["status"] == "running", "reading goes on"
        assert platform.ready()
        time.sleep(max(0.0, 32 - (time.monotonic() - began)))
    finally:
        other.execute("ROLLBACK")
        other.close()

    job = platform.until(uuid, timeout_s=90)
    assert [attempt["number"] for attempt in job["attempts"]] == [1]
    platform.assert_sound(uuid)
    assert platform.api("GET", "jobs/")["count"] == before, "what was refused left nothing"


@pytest.fixture
def on_postgresql(tmp_path: Path) -> Iterator[tuple[TrainingPlatform, Cluster]]:
    if find_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with Cluster() as cluster, TrainingPlatform(tmp_path / "data", ANNEAL_DATABASE_URL=cluster.url) as platform:
        yield platform, cluster


def test_postgresql_is_killed_and_started_again(on_postgresql: tuple[TrainingPlatform, Cluster]) -> None:
    platform, cluster = on_postgresql
    uuid = platform.start()
    platform.until_step(uuid, 2)
    cluster.stop()
    began = time.monotonic()
    try:
        status, error, seconds = post(platform, 40)
        assert (status, error["code"]) == (503, "unavailable")
        assert seconds < 30
        told = platform.request("GET", "/readyz")
        assert told[0] == 503
        assert told[1]["database"] == "unavailable"
        assert platform.request("GET", "/healthz")[0] == 200
        page = platform.request("GET", "/", headers={"Cookie": "anneal_session=0123456789abcdef0123456789abcdef"})
        assert page[0] == 503
        assert "The database does not answer." in page[1]
    finally:
        cluster.start()
    assert time.monotonic() - began < 60

    platform.wait(platform.ready, 40, "the database to be found again")
    job = platform.until(uuid, timeout_s=90)
    assert [attempt["number"] for attempt in job["attempts"]] == [1]
    platform.assert_sound(uuid)
