"""Lists and the training environment, for pages that show many things at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.utils.translation import gettext as _

from pipelines.models import Pipeline
from platform_site.common import live
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for

from . import bells, render, render_pipelines
from .hub import Hub, hub
from .pace import Pace
from .socket import Socket, bad_input, dumps, unknown

PLAIN_TOPICS: Final = frozenset({"pipelines", "jobs", "tasks", "backtests", "hosts", "notifications", "environment"})
LISTS: Final = frozenset({"pipelines", "jobs", "tasks", "backtests", "hosts"})
"""Topics whose pages are sent fragments: lines of lists, or the word to look again."""
MOST_TOPICS: Final = 20
PACE_S: Final = 1 / 2
ENVIRONMENT_S: Final = 1.0
LATELY_S: Final = 10.0
MISSED_S: Final = 120.0


@dataclass(eq=False)
class _Reader:
    """`projects` are those that the socket's user may see; `topics` what was asked for; `missed` is called when
    there is room again for what it could not be sent."""

    socket: Socket
    topics: frozenset[str]
    pipelines: frozenset[UUID]
    projects: frozenset[int]
    missed: Callable[[], None]
    environment: dict[str, Any] | None = None

    @property
    def reader(self) -> render.Reader:
        return self.socket.language, self.socket.access.allows(Role.OPERATOR)

    @property
    def listener(self) -> bells.Listener:
        return self.socket.access.user.pk or 0, self.socket.language


class UpdatesTopic:
    """One for all sockets of `/ws/updates/` in a process."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._readers: dict[Socket, _Reader] = {}
        self._changed_stages: set[UUID] = set()
        self._changed_pipelines: set[UUID] = set()
        self._changed_tasks = False
        self._rung: set[int] = set()
        self._changed_backtests = False
        self._changed_hosts: set[int] = set()
        self._changed: dict[tuple[str, str, int | None], dict[str, Any]] = {}
        self._behind: dict[_Reader, float] = {}
        self._rows = Pace(PACE_S, self._send_rows)
        self._catch_up = Pace(0, self._send_missed)
        self._messages = Pace(PACE_S, self._send_messages)
        self._bells = Pace(PACE_S, self._send_bells)
        self._environment: Pace | None = None

    # --- What the hub calls ---

    @property
    def watched(self) -> frozenset[UUID]:
        return frozenset()

    @property
    def idle(self) -> bool:
        return not self._readers

    def hears(self, group: str) -> bool:
        kind = group.partition(".")[0]
        return kind in {"stage", "stream", "pipelines", "pipeline", "tasks", "backtests", "hosts", "notifications"}

    def heard(self, event: live.Event) -> None:
        kind, _dot, name = event.group.partition(".")
        if kind in {"stage", "stream"}:
            try:
                self._changed_stages.add(UUID(name))
            except ValueError:
                return
            self._rows.touch()
            return
        if kind == "notifications":
            # Each person's own: nobody hears that somebody else was told something.
            if name.isdecimal():
                self._rung.add(int(name))
                self._bells.touch()
            return
        project = int(name) if kind == "hosts" and name.isdecimal() else None
        if project is not None:
            self._changed_hosts.add(project)
        pipeline = str(event.ids.get("pipeline", ""))
        try:
            self._changed_pipelines.add(UUID(pipeline))
        except ValueError:
            pass  # about something else
        self._changed_tasks |= kind == "tasks"
        self._changed_backtests |= kind == "backtests"
        self._rows.touch()
        topic = f"pipeline:{name}" if kind == "pipeline" else kind
        which = pipeline or str(event.ids.get("backtest") or event.ids.get("host") or "")
        self._changed[topic, which, project] = {"type": "update", "topic": topic, **event.ids}
        self._messages.touch()

    def look(self, versions: dict[UUID, tuple[int, int]], *, missed: bool) -> None:
        if missed and self._readers:
            for reader in self._readers.values():
                if reader.socket.is_json:
                    reader.socket.outbox.offer(dumps({"type": "resync"}))
                else:
                    self._fell_behind(reader, MISSED_S)

    def add(self, socket: Socket) -> None:
        """The reader comes with `begin`, when its topics are known."""

    def remove(self, socket: Socket) -> None:
        self._readers.pop(socket, None)

    def stop(self) -> None:
        for pace in (self._rows, self._catch_up, self._messages, self._bells):
            pace.stop()
        if self._environment is not None:
            self._environment.stop()

    # --- What the socket calls ---

    def begin(
        self, socket: Socket, topics: frozenset[str], pipelines: frozenset[UUID], projects: frozenset[int]
    ) -> None:
        """Take part, and send what changed while the page was on its way."""
        reader = _Reader(socket, topics, pipelines, projects, lambda: self._fell_behind(reader, MISSED_S))
        self._readers[socket] = reader
        if "environment" in reader.topics and self._environment is None:
            self._environment = Pace(ENVIRONMENT_S, self._send_environment)
            self._environment.touch()
        self._fell_behind(reader, LATELY_S)

    # --- Rows of lists ---

    async def _send_rows(self) -> None:
        stages, self._changed_stages = self._changed_stages, set()
        pipelines, self._changed_pipelines = self._changed_pipelines, set()
        tasks, self._changed_tasks = self._changed_tasks, False
        backtests, self._changed_backtests = self._changed_backtests, False
        hosts, self._changed_hosts = self._changed_hosts, set()
        readers = self._html_readers(self._readers.values())
        if not readers:
            return
        try:
            await self._send_changed(readers, stages, pipelines)
        except Exception:
            self._changed_stages |= stages
            self._changed_pipelines |= pipelines
            self._changed_tasks |= tasks
            self._changed_backtests |= backtests
            self._changed_hosts |= hosts
            raise
        if tasks:
            for reader in _of(readers, "tasks"):
                reader.socket.outbox.offer(render_pipelines.LOOK_AT_TASKS, missed=reader.missed)
        if backtests:
            for reader in _of(readers, "backtests"):
                reader.socket.outbox.offer(render_pipelines.LOOK_AT_BACKTESTS, missed=reader.missed)
        for reader in _of(readers, "hosts"):
            if hosts & reader.projects:
                reader.socket.outbox.offer(render_pipelines.LOOK_AT_HOSTS, missed=reader.missed)

    async def _send_changed(self, readers: list[_Reader], stages: set[UUID], pipelines: set[UUID]) -> None:
        in_database = self._hub.in_database
        if stages and (lists := _of(readers, "jobs")):
            self._spread(await in_database(render.rows, stages, _languages(lists)), lists)
        if stages:
            # What only has new progress says so of its stage alone.
            pipelines = pipelines | await in_database(render_pipelines.pipelines_of, stages)
        if pipelines and (lists := _of(readers, "pipelines")):
            rows = await in_database(render_pipelines.pipeline_rows, pipelines, _kinds(lists))
            self._spread_pipelines(rows, lists)
            if len(rows) < len(pipelines):
                for reader in lists:
                    reader.socket.outbox.offer(render_pipelines.LOOK_AT_LIST, missed=reader.missed)
        for pipeline in pipelines:
            if looking := [reader for reader in readers if pipeline in reader.pipelines]:
                await self._send_parts(pipeline, looking, changed=stages)

    async def _send_parts(
        self, pipeline: UUID, readers: list[_Reader], *, changed: frozenset[UUID] | set[UUID], within_s: float = 0.0
    ) -> None:
        def parts() -> dict[render.Reader, str]:
            return render_pipelines.pipeline_parts(pipeline, _kinds(readers), changed=changed, within_s=within_s)

        html = await self._hub.in_database(parts)
        for reader in readers:
            if reader.reader in html:
                reader.socket.outbox.offer(html[reader.reader], missed=reader.missed)

    def _fell_behind(self, reader: _Reader, within_s: float) -> None:
        """Send what changed lately, once more: the page may not show it yet."""
        self._behind[reader] = within_s
        self._catch_up.touch()

    async def _send_missed(self) -> None:
        behind, self._behind = self._behind, {}
        for within_s in set(behind.values()):
            readers = self._html_readers(reader for reader, wanted in behind.items() if wanted == within_s)
            if lists := _of(readers, "jobs"):
                self._spread(await self._hub.in_database(render.rows_changed, within_s, _languages(lists)), lists)
            if lists := _of(readers, "pipelines"):
                rows = await self._hub.in_database(render_pipelines.pipeline_rows_changed, within_s, _kinds(lists))
                self._spread_pipelines(rows, lists)
            await self._ring([reader for reader, wanted in behind.items() if wanted == within_s])
            for pipeline in frozenset().union(*(reader.pipelines for reader in readers)):
                looking = [reader for reader in readers if pipeline in reader.pipelines]
                await self._send_parts(pipeline, looking, changed=frozenset(), within_s=within_s)
            if within_s > LATELY_S:
                for reader in _of(readers, "tasks"):
                    reader.socket.outbox.offer(render_pipelines.LOOK_AT_TASKS)
            # Also of what changed while the page was on its way: a short one may be complete by then.
            for reader in _of(readers, "backtests"):
                reader.socket.outbox.offer(render_pipelines.LOOK_AT_BACKTESTS)
            for reader in _of(readers, "hosts"):
                reader.socket.outbox.offer(render_pipelines.LOOK_AT_HOSTS)

    def _html_readers(self, readers: Iterable[_Reader]) -> list[_Reader]:
        return [r for r in readers if not r.socket.is_json and (r.topics & LISTS or r.pipelines)]

    def _spread(self, rows: list[render.Row], readers: list[_Reader]) -> None:
        texts: dict[tuple[str, tuple[int, ...]], str] = {}
        for reader in readers:
            wanted = tuple(index for index, row in enumerate(rows) if row.project_id in reader.projects)
            if not wanted:
                continue
            language = reader.socket.language
            if (language, wanted) not in texts:
                texts[language, wanted] = "".join(rows[index].html[language] for index in wanted)
            reader.socket.outbox.offer(texts[language, wanted], missed=reader.missed)

    def _spread_pipelines(self, rows: list[render_pipelines.PipelineRow], readers: list[_Reader]) -> None:
        for reader in readers:
            found = [row.html.get(reader.reader) for row in rows if row.project_id in reader.projects]
            # One whose role changed meanwhile is not among those just rendered.
            if any(html is None for html in found):
                reader.missed()
            elif found:
                reader.socket.outbox.offer("".join(html for html in found if html), missed=reader.missed)

    # --- The bell ---

    async def _send_bells(self) -> None:
        rung, self._rung = self._rung, set()
        try:
            await self._ring([reader for reader in self._readers.values() if reader.listener[0] in rung])
        except Exception:
            self._rung |= rung
            raise

    async def _ring(self, readers: list[_Reader]) -> None:
        listening = _of(readers, "notifications")
        if not listening:
            return
        found = await self._hub.in_database(bells.bells, {reader.listener for reader in listening})
        for reader in listening:
            unread, html = found[reader.listener]
            message = {"type": "update", "topic": "notifications", "unread": unread}
            reader.socket.outbox.offer(dumps(message) if reader.socket.is_json else html, missed=reader.missed)

    # --- Messages for programs ---

    async def _send_messages(self) -> None:
        changed, self._changed = self._changed, {}
        for (topic, _which, project), message in changed.items():
            text = dumps(message)
            for reader in self._readers.values():
                may_see = project is None or project in reader.projects
                if reader.socket.is_json and topic in reader.topics and may_see:
                    reader.socket.outbox.offer(text)

    # --- The training environment ---

    async def _send_environment(self) -> None:
        """Its set-up is a script outside of the platform, which announces nothing: look again and again."""
        readers = [reader for reader in self._readers.values() if "environment" in reader.topics]
        if not readers:
            self._environment = None
            return
        languages = _languages([reader for reader in readers if not reader.socket.is_json])
        message, html = await self._hub.in_database(render.training_state, languages)
        for reader in readers:
            if not message or reader.environment == message:
                continue
            text = dumps(message) if reader.socket.is_json else html.get(reader.socket.language)
            if text is not None and reader.socket.outbox.offer(text):
                reader.environment = message
        if self._environment is not None:
            self._environment.touch()


def _of(readers: Iterable[_Reader], topic: str) -> list[_Reader]:
    return [reader for reader in readers if topic in reader.topics]


def _kinds(readers: Iterable[_Reader]) -> set[render.Reader]:
    return {reader.reader for reader in readers}


def _languages(readers: Iterable[_Reader]) -> set[str]:
    return {reader.socket.language for reader in readers}


async def watch_updates(socket: Socket) -> None:
    """`/ws/updates/?topics=pipelines,pipeline:UUID,jobs,tasks,backtests,hosts,notifications,environment&format=`."""
    query = socket.query({"topics"})
    topics = frozenset(topic for topic in query.get("topics", "").split(",") if topic)
    if not topics:
        bad_input(_("Say which topics: %(topics)s.") % {"topics": ", ".join(sorted(PLAIN_TOPICS)) + ", pipeline:UUID"})
    if len(topics) > MOST_TOPICS:
        bad_input(_("At most %(most)s topics.") % {"most": MOST_TOPICS})
    pipelines = frozenset(_pipeline(topic) for topic in topics - PLAIN_TOPICS)
    meeting = hub()
    projects, found = await meeting.in_database(_visible, socket, pipelines)
    if found != pipelines:
        unknown(_("There is no such pipeline."))
    named = (topics & PLAIN_TOPICS) | {f"pipeline:{pipeline}" for pipeline in pipelines}
    async with meeting.joined("updates", UpdatesTopic, socket) as topic:
        topic.begin(socket, named, pipelines, projects)
        await socket.listen()


def _pipeline(topic: str) -> UUID:
    kind, _colon, name = topic.partition(":")
    if kind != "pipeline":
        bad_input(_("There is no topic %(topic)s.") % {"topic": topic[:100]})
    try:
        return UUID(name)
    except ValueError:
        bad_input(_("A pipeline is named by its uuid: pipeline:UUID."))


def _visible(socket: Socket, pipelines: frozenset[UUID]) -> tuple[frozenset[int], frozenset[UUID]]:
    """The projects that the user sees, and which of the pipelines stand in them."""
    projects = frozenset(projects_for(socket.access.user).values_list("pk", flat=True))
    found = Pipeline.objects.filter(pk__in=pipelines, project__in=projects).values_list("pk", flat=True)
    return projects, frozenset(found)
