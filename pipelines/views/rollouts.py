"""What a model answered while it was trained: a step of a run, its prompts, their answers side by side."""

import math
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from monitoring import rollout_selectors as rollouts
from monitoring.models import RolloutFile
from monitoring.readers import rollouts as reader
from monitoring.store.lines import MAX_STEP
from platform_site.common.errors import PlatformError
from platform_site.common.pages import needs
from platform_site.common.roles import Role

from .. import selectors
from ..models import Job
from ..rollout_view import MOST_ALONE, MOST_TEXT, card_of, chips_of, curve_of, exact
from ..services.rollouts import OpenStep, open_step
from ..states import STAGE_TERMINAL

PAGE_SIZE: Final = 8
MOST_ANSWERS: Final = 64
"""Of one prompt."""


@dataclass(frozen=True)
class Filter:
    """What the address asks for. `wrong` names the fields that are no numbers; they count as not given."""

    low: float | None
    high: float | None
    group: int | None
    sort: str
    wrong: tuple[str, ...]

    @property
    def low_text(self) -> str:
        return "" if self.low is None else exact(self.low)

    @property
    def high_text(self) -> str:
        return "" if self.high is None else exact(self.high)

    @property
    def on(self) -> bool:
        return self.low is not None or self.high is not None or self.group is not None


@require_GET
@needs(Role.VIEWER)
def job_rollouts(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """`?step=` (without: the newest), `?attempt=`, `?min=&max=` reward, `?group=` one prompt, `?sort=`, `?page=`."""
    job = selectors.job_for(request.user, job_id)
    attempts = rollouts.rolled_out(job.stream_id)
    attempt = _whole(request, "attempt")
    attempt = attempt if attempt in attempts else None
    segments = list(job.stream.segments.all())
    files = rollouts.rollouts(segments, attempt)
    file = rollouts.nearest(files, _whole(request, "step"))
    curve = curve_of(rollouts.curve(files), job.target_step)
    context: dict[str, Any] = {
        "job": job,
        "stage": job.stage,
        "live": job.stage.status not in STAGE_TERMINAL,
        "attempts": attempts if len(segments) > 1 else [],
        "attempt": attempt,
        "curve": curve,
        "file": file,
    }
    if file is not None:
        ends = (curve.first, curve.end) if curve is not None else (file.step, file.step)
        context["slider"] = {"first": min(ends[0], file.step), "end": max(ends[1], file.step)}
        context |= _step(request, job, file, files)
    return render(request, "jobs/rollouts.html", context)


def _step(request: HttpRequest, job: Job, file: RolloutFile, files: QuerySet[RolloutFile]) -> dict[str, Any]:
    wanted = _filter(request)
    about: dict[str, Any] = {
        "place": rollouts.neighbours(files, file.step),
        "others": [
            number for number in rollouts.attempts_at(job.stream_id, file.step) if number != file.segment.attempt
        ],
        "filter": wanted,
        "sorts": [
            ("group", _("As logged")),
            ("reward", _("Lowest reward first")),
            ("-reward", _("Highest reward first")),
            ("-spread", _("Most at odds first")),
        ],
    }
    try:
        opened = open_step(job, file)
        return about | _answers(request, opened, wanted)
    except PlatformError as error:
        return about | {"problem": error.message}


def _answers(request: HttpRequest, opened: OpenStep, wanted: Filter) -> dict[str, Any]:
    places = opened.survey.places
    figures = reader.figures(places)
    matching: dict[int, list[reader.Place]] = {}
    for place in reader.between(places, wanted.low, wanted.high):
        matching.setdefault(place.group, []).append(place)
    groups = [
        group for group in reader.grouped(places) if group.number in matching and wanted.group in (None, group.number)
    ]
    groups.sort(key=reader.GROUP_ORDERS[wanted.sort])
    page = Paginator(groups, PAGE_SIZE).get_page(request.GET.get("page"))
    cards = []
    for group in page:
        shown = matching[group.number]
        samples = opened.samples(shown[:MOST_ANSWERS])
        most = MOST_TEXT if wanted.group is None else MOST_ALONE
        cards.append(card_of(group, shown, samples, figures.reward_min, figures.reward_max, most))
    return {
        "survey": opened.survey,
        "figures": figures,
        "odd": sum(not math.isfinite(place.reward) for place in places),
        "even": sum(group.spread == 0 and len(group.places) > 1 for group in reader.grouped(places)),
        "matching": sum(len(matching[group.number]) for group in groups),
        "chips": chips_of(places),
        "page": page,
        "cards": cards,
    }


def _whole(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    return min(int(text), MAX_STEP) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _filter(request: HttpRequest) -> Filter:
    wrong, found = [], {}
    for name in ("min", "max"):
        text = request.GET.get(name, "").strip()
        try:
            value = float(text) if text else None
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            wrong.append(name)
            value = None
        found[name] = value
    sort = request.GET.get("sort", "")
    return Filter(
        found["min"],
        found["max"],
        _whole(request, "group"),
        sort if sort in reader.GROUP_ORDERS else "group",
        tuple(wrong),
    )
