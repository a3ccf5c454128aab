"""One run's rollouts, looked at by any number of pages: the curve, and the word that there is a newer step."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

from monitoring import rollout_selectors as rollouts
from pipelines.models import Job
from pipelines.rollout_view import curve_of
from platform_site.common import live
from platform_site.common.selectors import projects_for

from . import render
from .hub import Hub, hub
from .pace import Pace
from .socket import Refused, Socket, bad_input, unknown

PACE_S: Final = 1 / 2


@dataclass(frozen=True)
class _State:
    """`shape` changes with what is shown; `html` is the whole message, by language."""

    shape: tuple[object, ...]
    versions: tuple[int, int]
    html: Mapping[str, str]


class RolloutsTopic:
    """Sends each page what it does not show yet: everything at first, then what changed."""

    def __init__(self, hub: Hub, job_id: UUID) -> None:
        self._hub = hub
        self._job_id = job_id
        self._told: dict[Socket, tuple[object, ...] | None] = {}
        self._pace = Pace(PACE_S, self._send)
        self._versions = (-1, -1)

    @property
    def watched(self) -> frozenset[UUID]:
        return frozenset({self._job_id})

    @property
    def idle(self) -> bool:
        return not self._told

    def hears(self, group: str) -> bool:
        return group in (f"stage.{self._job_id}", f"stream.{self._job_id}")

    def heard(self, event: live.Event) -> None:
        self._pace.touch()

    def look(self, versions: dict[UUID, tuple[int, int]], *, missed: bool) -> None:
        if missed or versions.get(self._job_id) != self._versions:
            self._pace.touch()

    def add(self, socket: Socket) -> None:
        self._told[socket] = None
        self._pace.touch()

    def remove(self, socket: Socket) -> None:
        self._told.pop(socket, None)

    def stop(self) -> None:
        self._pace.stop()

    async def _send(self) -> None:
        languages = {socket.language for socket in self._told}
        state = await self._hub.in_database(_state, self._job_id, languages)
        for socket, told in list(self._told.items()):
            if state is None:
                socket.end(Refused(4404, _("There is no such run.")))
            elif told == state.shape:
                continue
            elif socket.language not in state.html:
                self._pace.touch()  # it came while this was rendered
            elif socket.outbox.offer(state.html[socket.language], missed=self._pace.touch):
                self._told[socket] = state.shape
        if state is not None:
            self._versions = state.versions


def _state(job_id: UUID, languages: Iterable[str]) -> _State | None:
    """None when the job is gone."""
    job = render.jobs().prefetch_related("stream__segments").filter(pk=job_id).first()
    if job is None:
        return None
    curve = curve_of(rollouts.curve(rollouts.rollouts(list(job.stream.segments.all()))), job.target_step)
    html = {}
    for language in languages:
        context = {"job": job, "stage": job.stage, "curve": curve, "language": language}
        with translation.override(language):
            html[language] = render_to_string("jobs/_rollouts.html#live", context)
    shape = (job.stage.status, bool(job.stage.host and job.stage.host.unreachable_since), curve)
    return _State(shape, (job.stage.version, job.stream.version), html)


async def watch_rollouts(socket: Socket) -> None:
    """`/ws/monitoring/{job}/rollouts/`, for pages: programs ask the API."""
    socket.query(set())
    if socket.is_json:
        bad_input(_("This socket speaks HTML alone. The steps are at jobs/UUID/rollouts/ in the API."))
    try:
        job_id = UUID(socket.args["job"])
    except ValueError:
        unknown(_("There is no such run."))
    meeting = hub()
    if not await meeting.in_database(_visible, socket, job_id):
        unknown(_("There is no such run."))
    async with meeting.joined(("rollouts", job_id), lambda h: RolloutsTopic(h, job_id), socket):
        await socket.listen()


def _visible(socket: Socket, job_id: UUID) -> bool:
    return Job.objects.filter(pk=job_id, project__in=projects_for(socket.access.user)).exists()
