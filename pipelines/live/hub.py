"""Where the sockets of one process meet the changes that other processes announce.

One subscription serves all sockets. Announcements can get lost, so nothing depends on one: after each break, and
every few seconds anyway, the hub compares the versions of what is shown with the database's.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, ParamSpec, Protocol, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from monitoring.models import Stream
from pipelines.models import Stage
from platform_site.common import live, sockets
from platform_site.common.db import released_connections
from platform_site.common.roles import Role

from .socket import Socket, not_allowed

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound="Topic")

LOOK_S: Final = 5.0
"""How often the versions are compared while announcements come through."""
LOOK_BLIND_S: Final = 0.5
"""The same while they do not."""
READY_S: Final = 1.0
THREADS: Final = 4


class Topic(Protocol):
    """Something that sockets look at."""

    def hears(self, group: str) -> bool:
        """Whether announcements of this group are of interest."""

    def heard(self, event: live.Event) -> None: ...

    def look(self, versions: dict[UUID, tuple[int, int]], *, missed: bool) -> None:
        """Stage and stream versions of everything watched; `missed`: announcements may have been lost."""

    @property
    def watched(self) -> frozenset[UUID]:
        """Stages whose versions `look` wants."""

    def add(self, socket: Socket) -> None: ...

    def remove(self, socket: Socket) -> None: ...

    @property
    def idle(self) -> bool:
        """Nobody looks any more."""

    def stop(self) -> None: ...


class Hub:
    """Of one event loop. Lives while sockets do."""

    def __init__(self) -> None:
        self._topics: dict[object, Topic] = {}
        self._sockets: set[Socket] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._threads: ThreadPoolExecutor | None = None
        self._ready = asyncio.Event()
        self._connected = self._broken = False
        self._look_now = asyncio.Event()
        self._missed = False
        self._renewals: set[asyncio.Task[None]] = set()

    async def in_database(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run blocking work in a thread that gives its database connection back before it answers."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="live")

        def unit() -> R:
            with released_connections():
                return work(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._threads, unit)

    @asynccontextmanager
    async def joined(self, key: object, make: Callable[["Hub"], T], socket: Socket) -> AsyncIterator[T]:
        """Have `socket` look at the topic of this key while the block runs. A key goes with one kind of topic."""
        self._sockets.add(socket)
        self._start()
        try:
            await self._listening()
            topic: T = self._topics.get(key) or make(self)  # type: ignore[assignment]  # the key's kind
            self._topics[key] = topic
            topic.add(socket)
            try:
                yield topic
            finally:
                topic.remove(socket)
                if topic.idle and self._topics.get(key) is topic:
                    del self._topics[key]
                    topic.stop()
        finally:
            self._sockets.discard(socket)
            if not self._sockets:
                self._stop()

    def _start(self) -> None:
        if not self._tasks:
            self._ready.clear()
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._listen()), loop.create_task(self._look())]

    def _stop(self) -> None:
        for task in [*self._tasks, *self._renewals]:
            task.cancel()
        self._tasks = []
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    async def _listening(self) -> None:
        """Until announcements arrive, so that none falls between the first look and the first push. Without Redis
        the comparing of versions has to do, and nobody waits."""
        try:
            await asyncio.wait_for(self._ready.wait(), READY_S)
        except TimeoutError:
            pass

    async def _listen(self) -> None:
        while True:
            try:
                async for event in live.events():
                    if isinstance(event, live.Link):
                        self._link(event)
                    else:
                        self._spread(event)
            except Exception:
                logger.exception("Listening for changes failed; starting again")
                self._link(live.LOST)
                await asyncio.sleep(READY_S)

    def _link(self, link: live.Link) -> None:
        self._missed |= link.up and self._broken
        self._connected, self._broken = link.up, not link.up
        self._ready.set()
        self._look_now.set()

    def _spread(self, event: live.Event) -> None:
        for topic in list(self._topics.values()):
            if topic.hears(event.group):
                topic.heard(event)
        if event.group.startswith("access."):
            self._renew([socket for socket in self._sockets if event.group in socket.access.groups])

    async def _look(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._look_now.wait(), LOOK_S if self._connected else LOOK_BLIND_S)
            except TimeoutError:
                pass
            self._look_now.clear()
            missed, self._missed = self._missed, False
            try:
                watched = frozenset().union(*(topic.watched for topic in self._topics.values()))
                versions = await self.in_database(_versions, watched) if watched else {}
            except Exception:
                logger.exception("The versions of what is shown could not be read; trying again")
                self._missed = missed or self._missed
                await asyncio.sleep(LOOK_BLIND_S)
                continue
            for topic in list(self._topics.values()):
                topic.look(versions, missed=missed)
            # A lost announcement could have been a revocation.
            self._renew([socket for socket in self._sockets if missed or socket.access.seconds_left() == 0])

    def _renew(self, found: list[Socket]) -> None:
        if found:
            task = asyncio.get_running_loop().create_task(self._renewed(found))
            self._renewals.add(task)
            task.add_done_callback(self._renewals.discard)

    async def _renewed(self, found: list[Socket]) -> None:
        """Look again at what these sockets may. Those of the same session or token share one look."""
        known: dict[tuple[str | None, str | None], sockets.Access] = {}
        changed = False
        for socket in found:
            key = (socket.access.session_key, socket.access.digest)
            if key not in known:
                known[key] = await sockets.renewed(socket.access)
            changed |= socket.access.role != known[key].role
            socket.access = known[key]
            if not socket.access.allows(Role.VIEWER):
                socket.end(not_allowed())
        if changed:
            for topic in list(self._topics.values()):
                topic.look({}, missed=True)


def _versions(stage_ids: frozenset[UUID]) -> dict[UUID, tuple[int, int]]:
    """Stage and stream version of each."""
    streams = dict(Stream.objects.filter(pk__in=stage_ids).values_list("pk", "version"))
    stages = Stage.objects.filter(pk__in=stage_ids).values_list("pk", "version")
    return {pk: (version, streams.get(pk, 0)) for pk, version in stages}


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
