"""What open pages show, read from the database and rendered. Everything here runs in a thread of the hub's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from django.db.models import Prefetch, Q, QuerySet
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from environments import training
from environments.models import Host
from monitoring import unread
from monitoring.selectors import Feed
from monitoring.system_selectors import machine_now
from pipelines.machine_view import machine_view
from pipelines.models import Attempt, Job
from pipelines.selectors import checkup_of, stage_progress
from pipelines.states import STAGE_TERMINAL

MOST_ROWS: Final = 50

Reader = tuple[str, bool]
"""Language, and whether the reader may operate: what a fragment depends on."""

_TEMPLATE: Final = "jobs/_live.html"


@dataclass(frozen=True)
class JobState:
    """A job as it stands. `shape` changes when the whole of the page's fragments has to be sent, `moved` when its
    progress has. `html` has the whole message, `progress` the progress alone, by reader."""

    shape: tuple[object, ...]
    moved: tuple[object, ...]
    status: dict[str, Any]
    progress: dict[str, Any]
    terminal: bool
    stage_version: int
    stream_version: int
    html: Mapping[Reader, str]
    html_progress: Mapping[Reader, str]


@dataclass(frozen=True)
class Row:
    """A job's line in lists, by language."""

    project_id: int
    pipeline_id: UUID
    html: Mapping[str, str]


def jobs() -> QuerySet[Job]:
    return Job.objects.select_related(
        "stage__pipeline", "stage__host", "stream", "recipe_revision__recipe", "dataset_version__dataset"
    ).prefetch_related(Prefetch("stage__attempts", Attempt.objects.select_related("host").order_by("number")))


def job_state(job_id: UUID, readers: Iterable[Reader], known: tuple[object, ...] | None) -> JobState | None:
    """None when the job is gone. `known` is the shape that all readers have: with the same one only the progress
    is rendered."""
    job = jobs().filter(pk=job_id).first()
    if job is None:
        return None
    stage, stream = job.stage, job.stream
    progress = stage_progress(stage)
    shape: tuple[object, ...] = (
        stage.version,
        stage.status,
        stage.waiting_for,
        stage.error_message,
        stream.has_anomaly,
        stream.anomaly_message,
        stream.anomaly_step,
        tuple(unread.warnings(stream.warnings)),
        bool(stage.host and stage.host.unreachable_since),
        job.final_step,
        job.health_score,
        stream.diagnosed_version,
        tuple((attempt.number, attempt.outcome) for attempt in stage.attempts.all()),
    )
    html: dict[Reader, str] = {}
    html_progress: dict[Reader, str] = {}
    for language, can_operate in readers:
        context = {"job": job, "stage": stage, "can_operate": can_operate, "progress": progress, "language": language}
        with translation.override(language):
            if shape != known:
                context["checkup"] = checkup_of(job)
                html[language, can_operate] = render_to_string(f"{_TEMPLATE}#live", context)
            html_progress[language, can_operate] = partial(
                "#job-progress", render_to_string(f"{_TEMPLATE}#job_progress", context)
            )
    return JobState(
        shape=shape,
        moved=(progress.step, progress.target_step, stream.updated_at, stage.status),
        status={"type": "status", "status": stage.status, "health_score": job.health_score},
        progress={"type": "progress", "step": progress.step, "fraction": progress.fraction},
        terminal=stage.status in STAGE_TERMINAL,
        stage_version=stage.version,
        stream_version=stream.version,
        html=html,
        html_progress=html_progress,
    )


def machine(job_id: UUID, languages: Iterable[str]) -> dict[str, str]:
    """What a run's page says of its machine, by language; empty when the job is gone."""
    job = Job.objects.select_related("stage").filter(pk=job_id).first()
    if job is None:
        return {}
    view = machine_view(machine_now(job_id), active=job.stage.status not in STAGE_TERMINAL)
    html = {}
    for language in languages:
        with translation.override(language):
            context = {"machine": view, "language": language}
            html[language] = partial("#machine-now", render_to_string("jobs/_machine.html#machine_now", context))
    return html


def rows(job_ids: Iterable[UUID], languages: Iterable[str]) -> list[Row]:
    """The list lines of these jobs."""
    return [_row(job, languages) for job in jobs().filter(pk__in=list(job_ids))]


def rows_changed(within_s: float, languages: Iterable[str]) -> list[Row]:
    """The list lines of what changed lately: what a page that just opened, or lost messages, may not show yet."""
    since = timezone.now() - timedelta(seconds=within_s)
    lately = Q(stage__changed_at__gte=since) | Q(created_at__gte=since) | Q(stream__updated_at__gte=since)
    return [_row(job, languages) for job in jobs().filter(lately).order_by("-created_at")[:MOST_ROWS]]


def _row(job: Job, languages: Iterable[str]) -> Row:
    html = {}
    for language in languages:
        with translation.override(language):
            context = {"job": job, "stage": job.stage, "progress": stage_progress(job.stage), "language": language}
            html[language] = partial(f"#job-row-{job.pk}", render_to_string(f"{_TEMPLATE}#job_row", context))
    return Row(job.project_id, job.stage.pipeline_id, html)


def training_state(languages: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The training environment of this machine: as a message, and as the banner in each language."""
    host = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk").first()
    if host is None:
        return {}, {}
    html = {}
    for language in languages:
        with translation.override(language):
            context = {"training": training.state(host), "language": language}
            html[language] = partial("#training-banner", render_to_string("partials/_training_banner.html", context))
    state = training.state(host)
    message = {"type": "environment", "status": state.status, "percent": state.percent, "message": state.message}
    return message, html


def feed_json(feed: Feed) -> str:
    """`cursor` is what to come back with; with `reset` the points replace all that were sent before."""
    message: dict[str, Any] = {"type": "metrics", "points": feed.points, "cursor": feed.cursor}
    if feed.reset:
        message["reset"] = True
    return orjson.dumps(message).decode()


def feed_html(feed: Feed) -> str:
    """The element that hands new points to the charts. With `reset` the page reads its series anew, so that a
    long history does not travel through the socket."""
    points = {} if feed.reset else feed.points
    return format_html(
        '<metric-feed id="metric-feed" cursor="{}"{} points="{}"></metric-feed>',
        feed.cursor,
        SafeString(" reset") if feed.reset else "",
        orjson.dumps(points).decode(),
    )


def partial(target: str, html: str) -> str:
    """A fragment with its place. `html` was rendered by a template."""
    return format_html(
        '<hx-partial hx-target="{}" hx-swap="outerMorph">{}</hx-partial>',
        target,
        mark_safe(html),  # noqa: S308  rendered by a template, which escapes
    )
