"""Who sends a message dies with it on its way. It arrives at most once, and nobody is left to believe that it did."""

import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from notifications.services.outside import SENDER
from tests.harness import wait_until
from tests.notifications.servers import Web
from tests.processes import arguments

from .training_platform import TrainingPlatform

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[TrainingPlatform]:
    settings = {"training_python": sys.executable, "ANNEAL_NOTIFY_NETWORKS": "127.0.0.1/32"}  # nothing is trained
    with TrainingPlatform(tmp_path / "data", **settings) as started:
        yield started


def fails(platform: TrainingPlatform, name: str) -> None:
    """A pipeline whose second stage asks the first for what it does not have."""
    stages = [
        {"name": "a", "task": "noop"},
        {"name": "b", "task": "noop", "depends_on": ["a"], "params": {"result": "{{ stages.a.result.missing }}"}},
    ]
    platform.api("POST", "pipelines/", {"name": name, "start": True, "stages": stages})


def as_if_the_terms_were_over(platform: TrainingPlatform) -> None:
    with sqlite3.connect(platform.data / "anneal.sqlite3", timeout=20) as database:
        database.execute("UPDATE notifications_lane SET next_at = '2001-01-01 00:00:00' WHERE next_at IS NOT NULL")


def test_a_worker_killed_while_it_sends(platform: TrainingPlatform) -> None:
    hold = threading.Event()
    with Web(hold=hold) as web:

        def titles() -> list[str]:
            return [message["title"] for message in web.messages]

        def target() -> dict[str, object]:
            (found,) = platform.api("GET", "notifications/targets/")["results"]
            return dict(found)

        platform.api("POST", "notifications/targets/", {"name": "team", "url": web.url()})
        only = {"channels": {"webhook": {"kinds": ["stage_failed"]}}}
        platform.api("PATCH", "notifications/preferences/", only)
        fails(platform, "first")
        wait_until(titles, 60, "the message is with the server")
        worker = psutil.Process(platform.state.children["worker"].pid)
        (sender,) = [one for one in worker.children(recursive=True) if str(SENDER) in arguments(one)]
        worker.send_signal(signal.SIGKILL)
        wait_until(lambda: not worker.is_running(), 20)
        hold.set()
        wait_until(lambda: not sender.is_running(), 40, "the sender has no worker, and ends")
        wait_until(lambda: platform.state.children["worker"].pid != worker.pid and platform.ready(), 60, "a new worker")

        as_if_the_terms_were_over(platform)
        told = wait_until(lambda: target() if target()["problem"] else None, 60, "it is told")
        assert told["problem"] == "Sending was cut off in the middle. The message may have arrived."
        assert told["lost"] == 1
        assert titles() == ["Anneal: Stage b of first failed"]

        fails(platform, "second")
        wait_until(lambda: len(titles()) > 1, 60, "the next message")
        wait_until(lambda: target()["sent_at"], 20)
        assert titles() == ["Anneal: Stage b of first failed", "Anneal: Stage b of second failed"]
        assert (target()["lost"], bool(target()["problem"])) == (1, True), "what arrives later makes up for nothing"
