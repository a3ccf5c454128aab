"""One job, looked at by any number of sockets: its points, status and progress."""

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.utils.translation import gettext as _

from monitoring import selectors as monitoring
from monitoring.selectors import Feed
from pipelines.models import Job
from platform_site.common import live
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for

from . import render
from .hub import Hub, hub
from .pace import Pace
from .socket import Refused, Socket, bad_input, dumps, unknown

logger = logging.getLogger(__name__)

POINTS_S: Final = 1 / 20
STATE_S: Final = 1 / 2
MACHINE_S: Final = 2.0
_LONGEST_CURSOR: Final = 18


@dataclass(eq=False)
class _Viewer:
    """What one socket has been told so far."""

    socket: Socket
    cursor: int
    shape: tuple[object, ...] | None = None
    told_as: render.Reader | None = None
    moved: tuple[object, ...] | None = None
    status: dict[str, object] | None = None
    progress: dict[str, object] | None = None

    @property
    def reader(self) -> render.Reader:
        return self.socket.language, self.socket.access.allows(Role.OPERATOR)


class JobTopic:
    """Sends every viewer what is newer than its cursor. Viewers at the same cursor share load and rendering."""

    def __init__(self, hub: Hub, job_id: UUID) -> None:
        self._hub = hub
        self._job_id = job_id
        self._viewers: dict[Socket, _Viewer] = {}
        self._points = Pace(POINTS_S, self._send_points)
        self._state = Pace(STATE_S, self._send_state)
        self._machine = Pace(MACHINE_S, self._send_machine)
        self._first = Pace(0, self._greet)
        self._versions = (-1, -1)

    # --- What the hub calls ---

    @property
    def watched(self) -> frozenset[UUID]:
        return frozenset({self._job_id})

    @property
    def idle(self) -> bool:
        return not self._viewers

    def hears(self, group: str) -> bool:
        return group in (f"stage.{self._job_id}", f"stream.{self._job_id}", f"system.{self._job_id}")

    def heard(self, event: live.Event) -> None:
        if event.group.startswith("system."):
            self._machine.touch()
            return
        if event.group.startswith("stream."):
            self._points.touch()
        self._state.touch()

    def look(self, versions: dict[UUID, tuple[int, int]], *, missed: bool) -> None:
        if missed or versions.get(self._job_id) != self._versions:
            self._points.touch()
            self._state.touch()

    def add(self, socket: Socket) -> None:
        self._viewers[socket] = _Viewer(socket, -1)

    def remove(self, socket: Socket) -> None:
        self._viewers.pop(socket, None)

    def stop(self) -> None:
        for pace in (self._points, self._state, self._machine, self._first):
            pace.stop()

    # --- What the socket calls ---

    def begin(self, socket: Socket, cursor: int) -> None:
        """Send the full state, and then whatever is newer than `cursor`."""
        self._viewers[socket].cursor = cursor
        self._first.touch()

    # --- Points ---

    async def _send_points(self) -> None:
        together: defaultdict[int, list[_Viewer]] = defaultdict(list)
        for viewer in self._viewers.values():
            # One that has not begun yet gets its points when it does.
            if viewer.cursor >= 0:
                together[viewer.cursor].append(viewer)
        for cursor, viewers in together.items():
            feed = await self._hub.in_database(monitoring.points_after, self._job_id, cursor)
            if feed is None or feed.cursor == cursor:
                continue
            self._deliver(feed, [viewer for viewer in viewers if viewer.cursor == cursor])

    def _deliver(self, feed: Feed, viewers: list[_Viewer]) -> None:
        texts: dict[bool, str] = {}
        for viewer in viewers:
            is_json = viewer.socket.is_json
            if not feed.points and not feed.reset:
                viewer.cursor = feed.cursor
                continue
            if is_json not in texts:
                texts[is_json] = render.feed_json(feed) if is_json else render.feed_html(feed)
            # A socket with no room keeps its cursor, and gets what it missed once there is room.
            if viewer.socket.outbox.offer(texts[is_json], missed=self._points.touch):
                viewer.cursor = feed.cursor

    # --- The machine ---

    async def _send_machine(self) -> None:
        """To the pages: a sample that finds no room is made good by the next one."""
        pages = [viewer for viewer in self._viewers.values() if viewer.shape is not None]
        if pages:
            languages = {viewer.socket.language for viewer in pages}
            html = await self._hub.in_database(render.machine, self._job_id, languages)
            for viewer in pages:
                if viewer.socket.language in html:
                    viewer.socket.outbox.offer(html[viewer.socket.language])

    # --- Status and progress ---

    async def _greet(self) -> None:
        """Whoever is new gets everything, at once and without a push to the others."""
        new = [v for v in self._viewers.values() if v.cursor >= 0 and v.shape is None and v.status is None]
        if not new:
            return
        together: defaultdict[int, list[_Viewer]] = defaultdict(list)
        for viewer in new:
            together[viewer.cursor].append(viewer)
        for cursor, viewers in together.items():
            feed = await self._hub.in_database(monitoring.points_after, self._job_id, cursor)
            if feed is not None:
                self._deliver(feed, [viewer for viewer in viewers if viewer.cursor == cursor])
        await self._tell(new)

    async def _send_state(self) -> None:
        await self._tell([v for v in self._viewers.values() if v.shape is not None or v.status is not None])

    async def _tell(self, viewers: list[_Viewer]) -> None:
        html = [viewer for viewer in viewers if not viewer.socket.is_json]
        shapes = {viewer.shape for viewer in html}
        state = await self._hub.in_database(
            render.job_state,
            self._job_id,
            {viewer.reader for viewer in html},
            shapes.pop() if len(shapes) == 1 else None,
        )
        if state is None:
            for viewer in viewers:
                viewer.socket.end(Refused(4404, _("There is no such run.")))
            return
        if any(viewer.cursor < state.stream_version for viewer in viewers):
            # A step is told after its points, and "end" after the last of them.
            await self._points.ran()
        self._versions = (state.stage_version, state.stream_version)
        for viewer in viewers:
            if viewer.socket.is_json:
                self._tell_json(viewer, state)
            else:
                self._tell_html(viewer, state)

    def _tell_html(self, viewer: _Viewer, state: render.JobState) -> None:
        if viewer.shape != state.shape or viewer.told_as != viewer.reader:
            text = state.html.get(viewer.reader)
        elif viewer.moved != state.moved:
            text = state.html_progress.get(viewer.reader)
        else:
            return
        if text is None:
            # Its language or role is not among those just rendered: it changed meanwhile.
            viewer.shape = ()
            self._state.touch()
        elif viewer.socket.outbox.offer(text, missed=self._state.touch):
            viewer.shape, viewer.moved, viewer.told_as = state.shape, state.moved, viewer.reader

    def _tell_json(self, viewer: _Viewer, state: render.JobState) -> None:
        for name, message in (("status", state.status), ("progress", state.progress)):
            if getattr(viewer, name) == message:
                continue
            if not viewer.socket.outbox.offer(dumps(message), missed=self._state.touch):
                return
            setattr(viewer, name, message)
        if state.terminal and viewer.cursor >= state.stream_version:
            if viewer.socket.outbox.offer(dumps({"type": "end"}), missed=self._state.touch):
                viewer.socket.end()
        elif state.terminal:
            self._state.touch()


async def watch_job(socket: Socket) -> None:
    """`/ws/monitoring/{job}/live/?format=&cursor=`. With a cursor, exactly what came after it (or, when that is too
    much, a `reset`). Without one, JSON begins with the series so far, and a page, which has read them, with now."""
    query = socket.query({"cursor"})
    cursor = _cursor(query.get("cursor"))
    try:
        job_id = UUID(socket.args["job"])
    except ValueError:
        unknown(_("There is no such run."))
    meeting = hub()
    version = await meeting.in_database(_version_for, socket, job_id)
    if version is None:
        unknown(_("There is no such run."))
    if cursor is not None and cursor > version:
        cursor = None
    async with meeting.joined(("job", job_id), lambda h: JobTopic(h, job_id), socket) as topic:
        if cursor is None and not socket.is_json:
            socket.outbox.offer(render.feed_html(Feed({}, version)))
            cursor = version
        topic.begin(socket, cursor or 0)
        await socket.listen()


def _version_for(socket: Socket, job_id: UUID) -> int | None:
    """The stream's version, if there is such a job that the socket's user may see."""
    visible = Job.objects.filter(pk=job_id, project__in=projects_for(socket.access.user))
    return visible.values_list("stream__version", flat=True).first()


def _cursor(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_CURSOR:
        bad_input(_("The cursor is a whole number."))
    return int(text)
