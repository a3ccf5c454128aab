"""Follows the files of runs on hosts that are reached over a network, each over a channel of its own."""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from django.db import DatabaseError

from environments.models import Host
from environments.transports import Unreachable
from environments.transports.channel import Channel, Lost
from environments.transports.connection import connection_to
from pipelines.selectors import folders_under_way
from pipelines.tasks import nudge
from platform_runtime.follow import SIGN_OF_LIFE_S
from platform_site.common.db import released_connections

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often it is asked which runs there are."""
SILENT_S: Final = 4 * SIGN_OF_LIFE_S
RETRY_S: Final = 5.0


@dataclass
class Follower:
    """One host's thread. It ends when there is nothing to follow, or the host is gone; then the tick sees to it."""

    host: Host
    folders: frozenset[str]
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    channel: Channel | None = None

    def start(self) -> None:
        self.thread = threading.Thread(target=self._run, name=f"follow {self.host.name}", daemon=True)
        self.thread.start()

    def follow(self, folders: frozenset[str]) -> None:
        """From now on these."""
        if folders == self.folders:
            return
        self.folders = folders
        if self.channel is not None:
            try:
                self.channel.send("follow", {"folders": sorted(folders)}, b"", SILENT_S)
            except Lost:
                self.stop()

    def stop(self) -> None:
        self.stopping.set()
        if self.channel is not None:
            self.channel.close()

    def _run(self) -> None:
        try:
            self.channel = connection_to(self.host).follow()
            self.channel.send("follow", {"folders": sorted(self.folders)}, b"", SILENT_S)
            while not self.stopping.is_set():
                told, _body = self.channel.receive(SILENT_S)
                if runs := sorted({folder.split("/")[-2] for folder in told["ok"]}):
                    nudge(runs, remote=True)
        except (Unreachable, Lost) as error:
            if not self.stopping.is_set():
                log.warning("Following the runs of %s: %s", self.host.name, error)
        except Exception:  # whatever it was, the tick goes on, and the next thread tries again
            log.exception("Following the runs of %s failed", self.host.name)
        finally:
            if self.channel is not None:
                self.channel.close()


def run(stopping: threading.Event) -> None:
    """Until `stopping`: a follower for each host that has runs under way. The periodic tick is the safety net."""
    followers: dict[int, Follower] = {}
    not_before: dict[int, float] = {}
    while not stopping.wait(LOOK_S):
        try:
            with released_connections():
                wanted = folders_under_way()
        except DatabaseError as error:
            log.warning("Which runs there are cannot be seen: %s", type(error).__name__)
            continue
        for host_id, follower in list(followers.items()):
            if follower.thread is None or not follower.thread.is_alive():
                del followers[host_id]
                not_before[host_id] = time.monotonic() + RETRY_S
            elif host_id not in {host.pk for host in wanted}:
                follower.stop()
        for host, folders in wanted.items():
            if host.pk in followers:
                followers[host.pk].follow(folders)
            elif time.monotonic() >= not_before.get(host.pk, 0.0):
                followers[host.pk] = Follower(host, folders)
                followers[host.pk].start()
    for follower in followers.values():
        follower.stop()
