"""A run played back: its steps as logged, in the time they took, to one socket.

Each socket has its own place and speed, so nothing is shared but the hub's threads. Rows are read a chunk ahead, and
what was sent is forgotten: memory does not grow with the run. A client that takes nothing holds its own playback up.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import orjson
from django.utils.html import format_html
from django.utils.translation import gettext as _

from monitoring import clip
from monitoring import selectors as monitoring
from monitoring.models import Segment
from monitoring.store.tables import Row
from pipelines.models import Job
from platform_site.common import live
from platform_site.common.selectors import projects_for

from . import render
from .actions import Action, Pause, Resume, Seek, Speed, action_of, speed_of, step_of
from .hub import Hub, hub
from .socket import Socket, bad_input, dumps, unknown
from .tempo import Clock, Timeline

logger = logging.getLogger(__name__)

TICK_S: Final = 1 / 20
POSITION_S: Final = 1 / 2
MOST_ROWS: Final = 256
MOST_VALUES: Final = 8_192
"""Of one chunk: a run with thousands of metrics is read in fewer rows."""
BEHIND_S: Final = 1.0
"""A database that is slower than this makes the playback wait, rather than to rush afterwards."""
RETRY_S: Final = 1.0


@dataclass(frozen=True)
class Tape:
    """What is played: the steps `start` to `end` of these segments, `total` of them. None: there are none."""

    segments: Sequence[Segment]
    start: int | None
    end: int | None
    total: int
    chunk: int

    def fraction(self, step: int) -> float:
        if self.start is None or self.end is None or self.end == self.start:
            return 1.0
        return (step - self.start) / (self.end - self.start)


class Presence:
    """Stands for a playback in the hub, which sees to its right to be there. Changes are of no interest to it."""

    watched: frozenset[UUID] = frozenset()

    def __init__(self, _hub: Hub) -> None:
        self.idle = True

    def hears(self, group: str) -> bool:
        return False

    def heard(self, event: live.Event) -> None:
        raise AssertionError("a playback hears nothing")

    def look(self, versions: dict[UUID, tuple[int, int]], *, missed: bool) -> None:
        pass

    def add(self, socket: Socket) -> None:
        self.idle = False

    def remove(self, socket: Socket) -> None:
        self.idle = True

    def stop(self) -> None:
        pass


class Playback:
    def __init__(self, socket: Socket, meeting: Hub, tape: Tape, speed: float) -> None:
        self._socket = socket
        self._hub = meeting
        self._tape = tape
        self._now = asyncio.get_running_loop().time
        self._clock = Clock(speed, self._now())
        self._timeline = Timeline()
        self._waiting: deque[tuple[float, Row]] = deque()
        self._next: int | None = tape.start
        self._ahead: asyncio.Task[list[Row]] | None = None
        self._seek: int | None = None
        self._step = tape.start
        self._told_at = -POSITION_S
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    def act(self, action: Action) -> None:
        match action:
            case Pause():
                self._clock.pause(self._now())
            case Resume():
                self._clock.resume(self._now())
            case Speed(speed):
                self._clock.set_speed(speed, self._now())
            case Seek(step):
                self._seek = step
        self._wake.set()

    async def run(self) -> None:
        """Until the end, which a program's socket does not outlive; a page may go back from there."""
        try:
            await self._begin()
            while True:
                await self._until_the_end()
                await self._tell_position(always=True)
                await self._offer(self._text({"type": "end"}))
                if self._socket.is_json:
                    self._socket.end()
                    return
                while self._seek is None:
                    await self._woken(None)
        finally:
            if self._ahead is not None:
                self._ahead.cancel()

    async def _begin(self) -> None:
        meta: dict[str, object] = {
            "type": "meta",
            "start_step": self._tape.start,
            "end_step": self._tape.end,
            "total_steps": self._tape.total,
            "speed": self._clock.speed,
        }
        await self._offer(self._text(meta))

    async def _until_the_end(self) -> None:
        while True:
            if self._seek is not None:
                await self._go(self._seek)
            more = bool(self._waiting) or await self._fill()
            if self._seek is not None:
                continue
            if not more:
                return
            now = self._now()
            if due := self._due(self._clock.position(now)):
                await self._tell(due)
                await self._woken(TICK_S)
            else:
                await self._woken(self._clock.wait_s(self._waiting[0][0], now))

    def _due(self, position: float) -> list[Row]:
        """What should have been sent by now; nothing while paused, though a pause may fall on a step."""
        due: list[Row] = []
        while not self._clock.paused and self._waiting and self._waiting[0][0] <= position:
            due.append(self._waiting.popleft()[1])
        if len(self._waiting) < self._tape.chunk // 2:
            self._read_ahead()
        return due

    # --- Reading ---

    def _read_ahead(self) -> None:
        if self._ahead is None and self._next is not None:
            self._ahead = asyncio.get_running_loop().create_task(self._load(self._next))

    async def _load(self, step: int) -> list[Row]:
        while True:
            try:
                return await self._hub.in_database(_chunk, self._tape, step)
            except Exception:
                logger.exception("Steps to play back could not be read; trying again")
                await asyncio.sleep(RETRY_S)

    async def _fill(self) -> bool:
        """Have the next rows at hand. False: there are no more."""
        began, position = self._now(), self._clock.position(self._now())
        while not self._waiting:
            self._read_ahead()
            if self._ahead is None:
                return False
            rows = await self._ahead
            self._ahead = None
            last = rows[-1].step if rows else None
            self._next = None if last is None or last == self._tape.end else last + 1
            self._waiting.extend((self._timeline.place(row.time), row) for row in rows)
        if self._now() - began > BEHIND_S:
            self._clock.move(position, self._now())
        return True

    async def _go(self, step: int) -> None:
        """On from another step: what comes from now on replaces what was told behind it."""
        self._seek = None
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None
        if self._tape.start is None or self._tape.end is None:
            return
        self._waiting.clear()
        self._next = self._step = min(max(step, self._tape.start), self._tape.end)
        self._timeline = Timeline()
        self._clock.move(0.0, self._now())
        await self._tell_position(always=True, reset=True)

    # --- Telling ---

    async def _tell(self, rows: list[Row]) -> None:
        points: dict[str, list[tuple[int, object]]] = {}
        for row in rows:
            for name, value in row.values.items():
                points.setdefault(name, []).append((row.step, value))
        self._step = rows[-1].step
        if points:
            await self._offer(self._text({"type": "metrics", "points": points}))
        await self._tell_position()

    async def _tell_position(self, *, always: bool = False, reset: bool = False) -> None:
        now = self._now()
        if self._step is None or not (always or now - self._told_at >= POSITION_S):
            return
        self._told_at = now
        message: dict[str, object] = {
            "type": "progress",
            "step": self._step,
            "fraction": round(self._tape.fraction(self._step), 6),
        }
        if reset:
            message["reset"] = True
        await self._offer(self._text(message))

    def _text(self, message: dict[str, object]) -> str:
        return dumps(message) if self._socket.is_json else _html(message, self._tape)

    async def _offer(self, text: str) -> None:
        """Send, or wait until there is room: the clock stands meanwhile."""
        position, waited = self._clock.position(self._now()), False
        while True:
            self._room.clear()
            if self._socket.outbox.offer(text, missed=self._room.set):
                break
            waited = True
            await self._room.wait()
        if waited:
            self._clock.move(position, self._now())

    async def _woken(self, within_s: float | None) -> None:
        """Until an action comes, or the time is over."""
        self._wake.clear()
        if self._seek is None:
            try:
                await asyncio.wait_for(self._wake.wait(), within_s)
            except TimeoutError:
                pass


def _html(message: dict[str, object], tape: Tape) -> str:
    """A message for the page's script, and what stands on the page in words."""
    points = orjson.dumps(message.pop("points", {})).decode()
    feed = format_html(
        '<playback-feed id="playback-feed" message="{}" points="{}"></playback-feed>',
        orjson.dumps(message).decode(),
        points,
    )
    if message["type"] != "progress":
        return feed
    words = _("Step %(step)s of %(end)s") % {"step": message["step"], "end": tape.end}
    return feed + render.partial(
        "#playback-position", format_html('<span id="playback-position" class="num">{}</span>', words)
    )


def _chunk(tape: Tape, start: int) -> list[Row]:
    """The rows from this step on. Those of one step (two attempts can have logged it) stay together."""
    limit = tape.chunk
    while True:
        rows = monitoring.rows(tape.segments, start_step=start, end_step=tape.end, limit=limit)
        if len(rows) < limit:
            return rows
        whole = [row for row in rows if row.step < rows[-1].step]
        if whole:
            return whole
        limit *= 2


async def play_job(socket: Socket) -> None:
    """`/ws/monitoring/{job}/playback/?start_step=&end_step=&speed=&format=`."""
    query = socket.query({"start_step", "end_step", "speed"})
    start, end = step_of(query.get("start_step")), step_of(query.get("end_step"))
    if start is not None and end is not None and start > end:
        bad_input(_("The first step lies after the last one."))
    speed = speed_of(query.get("speed"))
    try:
        job_id = UUID(socket.args["job"])
    except ValueError:
        unknown(_("There is no such run."))
    meeting = hub()
    tape = await meeting.in_database(_tape, socket, job_id, start, end)
    if tape is None:
        unknown(_("There is no such run."))
    async with meeting.joined(("playback", id(socket)), Presence, socket):
        playback = Playback(socket, meeting, tape, speed)
        playing = asyncio.get_running_loop().create_task(playback.run())
        try:
            async for text in socket.texts():
                playback.act(action_of(text))
        finally:
            playing.cancel()


def _tape(socket: Socket, job_id: UUID, start: int | None, end: int | None) -> Tape | None:
    """None when there is no such job that the socket's user may see."""
    if not Job.objects.filter(pk=job_id, project__in=projects_for(socket.access.user)).exists():
        return None
    segments = monitoring.segments(job_id)
    parts = clip.within(monitoring.parts_of(segments), start, end)
    metrics = len(monitoring.metric_names(job_id))
    return Tape(
        segments=segments,
        start=min((part.low for part in parts), default=None),
        end=max((part.high for part in parts), default=None),
        total=monitoring.total_steps(parts, segments),
        chunk=max(4, min(MOST_ROWS, MOST_VALUES // max(1, metrics))),
    )
