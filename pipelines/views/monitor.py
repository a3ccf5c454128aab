"""What a run's monitoring page has beside the run: how its charts look, its machine, its rows, reading it by hand."""

from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from monitoring import clip, system_selectors, unread
from monitoring import selectors as monitoring
from monitoring.store.lines import Value
from platform_site.common.errors import PlatformError
from platform_site.common.pages import needs, visitor
from platform_site.common.roles import Role

from .. import selectors
from ..chart_form import ChartLayoutForm
from ..machine_view import machine_view
from ..models import Job
from ..services.charts import keep_layout, layout_for
from ..services.observe import sync_now
from ..states import STAGE_TERMINAL

ROWS: Final = 50
USUAL_COLUMNS: Final = 12
MOST_COLUMNS: Final = 30
MOST_OFFERED: Final = 300
"""Metrics to tick; there can be ten thousand, and any other is typed."""
BAD_LINES: Final = 100
MOST_LAST_VALUES: Final = 30
SPEEDS: Final = (0.1, 0.25, 0.5, 1, 2, 5, 10)
LONGEST_STEP: Final = 15
"""Digits."""
MOST_TOLD: Final = 40
"""Characters of what an address says wrongly."""


@dataclass(frozen=True)
class Logged:
    """What a run logged, told before any script draws it. `last`: values of the first metrics while it goes on; of one
    that ended the final metrics stand on the page."""

    metrics: int
    steps: int
    last: dict[str, Value]

    @property
    def more(self) -> int:
        return self.metrics - len(self.last)


def _logged(job: Job, *, active: bool) -> Logged | None:
    """None: nothing yet."""
    found = sorted(job.stream.segments.all(), key=lambda segment: segment.attempt)
    parts = monitoring.parts_of(found)
    if not parts or not job.stream.names:
        return None
    last = monitoring.last_values(found, job.stream.names[:MOST_LAST_VALUES]) if active else {}
    return Logged(len(job.stream.names), monitoring.total_steps(parts, found), last)


def monitor_context(request: HttpRequest, job: Job) -> dict[str, Any]:
    """What `jobs/_charts.html` and `jobs/_machine.html` need."""
    active = job.stage.status not in STAGE_TERMINAL
    return {
        "logged": _logged(job, active=active),
        "speeds": SPEEDS,
        "layout": asdict(layout_for(visitor(request), job.recipe_revision.recipe)),
        "machine": machine_view(system_selectors.machine_now(job.stream_id), active=active),
    }


@require_POST
@needs(Role.VIEWER)
def keep_charts(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Remember for whoever asks how the charts of this recipe's runs are to look."""
    job = selectors.job_for(request.user, job_id)
    form = ChartLayoutForm(request.POST)
    if not form.is_valid():
        return HttpResponse(form.errors.as_text(), status=422, content_type="text/plain; charset=utf-8")
    keep_layout(visitor(request), job.recipe_revision.recipe, form.layout)
    return HttpResponse(status=204)


@require_POST
@needs(Role.OPERATOR)
def sync_job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Read what is new of the run's metrics now, and say what there was."""
    job = selectors.job_for(request.user, job_id)
    try:
        found = sync_now(job.stage_id)
    except PlatformError as error:
        messages.error(request, error.message)
    else:
        new = found.new_steps
        text = ngettext("Read %(n)d new step.", "Read %(n)d new steps.", new) if new else _("There was nothing new.")
        messages.success(request, text % {"n": new})
    return redirect("job", job_id=job.pk)


@require_GET
@needs(Role.VIEWER)
def job_rows(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """`?from=` a step, `?attempt=` the whole of one, `?names=` the columns, repeated: the rows as they were logged."""
    job = selectors.job_for(request.user, job_id)
    segments = monitoring.segments(job.stream_id)
    attempts = [segment.attempt for segment in segments]
    asked_attempt, asked_step = (request.GET.get(name, "").strip() for name in ("attempt", "from"))
    attempt = next((n for n in attempts if str(n) == asked_attempt), None)
    start = _step(asked_step)
    names = monitoring.metric_names(job.stream_id)
    asked = [name for name in dict.fromkeys(request.GET.getlist("names")) if name]
    chosen = [name for name in asked if name in names]
    columns = chosen[:MOST_COLUMNS] or _usual(request, job, names)[:USUAL_COLUMNS]
    parts = monitoring.parts_of(segments, attempt)
    found = monitoring.rows(segments, start_step=start, attempt=attempt, limit=ROWS + 1)
    page = found[:ROWS]
    before = clip.within(parts, None, page[0].step - 1) if page else []
    context = {
        "job": job,
        "stage": job.stage,
        "rollouts": selectors.has_rollouts(job),
        "rows": [(row, [row.values.get(name) for name in columns]) for row in page],
        "columns": columns,
        "left_out": len(names) - len(columns),
        "names": len(names),
        "offered": list(dict.fromkeys([*columns, *names[:MOST_OFFERED]])),
        "unknown": [name for name in asked if name not in names],
        "too_many": len(chosen) > MOST_COLUMNS,
        "most_columns": MOST_COLUMNS,
        "attempts": attempts if len(attempts) > 1 else [],
        "attempt": attempt,
        "no_attempt": asked_attempt[:MOST_TOLD] if attempt is None else "",
        "from": start,
        "no_step": asked_step[:MOST_TOLD] if start is None else "",
        "longest_step": LONGEST_STEP,
        "total": monitoring.total_steps(parts, segments),
        "next": found[ROWS].step if len(found) > ROWS else None,
        "previous": _page_before(before),
        "warnings": unread.warnings(job.stream.warnings),
        "bad_lines": [(line, unread.reason(line)) for line in monitoring.bad_lines(segments, limit=BAD_LINES)[1]],
        "bad_lines_kept": BAD_LINES,
    }
    return render(request, "jobs/rows.html", context)


def _step(text: str) -> int | None:
    """A step of the address; None for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_STEP else None


def _usual(request: HttpRequest, job: Job, names: list[str]) -> list[str]:
    """The metrics that the reader has charts of; without a choice the first ones."""
    charts = layout_for(visitor(request), job.recipe_revision.recipe).charts or []
    return [name for name in charts if name in names] or names


def _page_before(before: list[clip.Part]) -> int | None:
    """The step that the page before these parts' end begins with, where steps follow each other closely."""
    if not before:
        return None
    return max(min(part.low for part in before), max(part.high for part in before) - ROWS + 1)
