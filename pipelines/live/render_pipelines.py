"""What pages of pipelines show, read from the database and rendered. Everything here runs in a thread of the hub's."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet
from django.template.loader import render_to_string
from django.utils import timezone, translation

from pipelines.models import Attempt, Pipeline, Stage
from pipelines.pictures import picture_of
from pipelines.selectors import needs_of_stages

from .render import MOST_ROWS, Reader, partial

_TEMPLATE: Final = "pipelines/_live.html"
_PARTS: Final = ("pipeline_status", "pipeline_notice", "pipeline_progress", "pipeline_actions")

LOOK_AT_TASKS: Final = partial("#tasks-changed", '<i id="tasks-changed" data-look hidden></i>')
"""The numbers, queues and rows of the tasks page change together: it asks for all of them again."""
LOOK_AT_BACKTESTS: Final = partial("#backtests-changed", '<i id="backtests-changed" data-look hidden></i>')
"""How far one is changes its numbers and its list together."""
LOOK_AT_HOSTS: Final = partial("#hosts-changed", '<i id="hosts-changed" data-look hidden></i>')
"""What a host is, how it stands and what may be done with it change together."""
LOOK_AT_STAGES: Final = partial("#stages-changed", '<i id="stages-changed" data-look hidden></i>')
"""A large pipeline has more rows than should be pushed, and its page shows some of them: it asks for those again."""
LOOK_AT_LIST: Final = partial("#list-changed", '<i id="list-changed" data-look hidden></i>')


@dataclass(frozen=True)
class PipelineRow:
    """A pipeline's line in lists, by reader."""

    project_id: int
    html: Mapping[Reader, str]


def pipelines() -> QuerySet[Pipeline]:
    attempts = Prefetch("attempts", Attempt.objects.select_related("host").order_by("number"))
    needs = needs_of_stages()
    stages = Stage.objects.order_by("order").select_related("job__stream").prefetch_related(needs, attempts)
    return Pipeline.objects.prefetch_related(Prefetch("stages", stages))


def pipelines_of(stage_ids: Iterable[UUID]) -> set[UUID]:
    """The pipelines that these stages belong to."""
    return set(Stage.objects.filter(pk__in=list(stage_ids)).values_list("pipeline_id", flat=True))


def pipeline_rows(pipeline_ids: Iterable[UUID], readers: Collection[Reader]) -> list[PipelineRow]:
    return [_row(found, readers) for found in pipelines().filter(pk__in=list(pipeline_ids))]


def pipeline_rows_changed(within_s: float, readers: Collection[Reader]) -> list[PipelineRow]:
    """The lines of what changed lately: what a page that just opened, or lost messages, may not show yet."""
    since = timezone.now() - timedelta(seconds=within_s)
    lately = Q(created_at__gte=since) | Q(started_at__gte=since) | Q(completed_at__gte=since)
    found = pipelines().filter(lately | Q(stages__changed_at__gte=since)).distinct()
    return [_row(pipeline, readers) for pipeline in found.order_by("-created_at")[:MOST_ROWS]]


def _row(pipeline: Pipeline, readers: Collection[Reader]) -> PipelineRow:
    html = {}
    for language, can_operate in readers:
        with translation.override(language):
            context = {"pipeline": pipeline, "can_operate": can_operate}
            row = render_to_string(f"{_TEMPLATE}#pipeline_row", context)
            html[language, can_operate] = partial(f"#pipeline-row-{pipeline.pk}", row)
    return PipelineRow(pipeline.project_id, html)


def pipeline_parts(
    pipeline_id: UUID, readers: Collection[Reader], *, changed: Collection[UUID] = (), within_s: float = 0.0
) -> dict[Reader, str]:
    """The page of one pipeline: its head, and node and row of the stages `changed` or changed `within_s`, and of what
    waits for them. Of a large one the nodes that hold them, at most MOST_NODES, and the word to look again. Empty when
    the pipeline is gone."""
    pipeline = pipelines().filter(pk=pipeline_id).first()
    if pipeline is None:
        return {}
    stages = list(pipeline.stages.all())
    since = timezone.now() - timedelta(seconds=within_s)
    moved = {stage.pk for stage in stages if stage.pk in changed or (stage.changed_at and stage.changed_at >= since)}
    picture = picture_of(stages)
    told = [
        placed
        for placed in picture.nodes
        if placed.stage.pk in moved
        # What a stage waits for changes with those it waits for.
        or (placed.stage.status == "pending" and any(above.pk in moved for above in placed.stage.depends_on.all()))
    ]
    folds = [fold for fold in picture.folds if any(stage.pk in moved for stage in fold.stages)]
    html = {}
    for language, can_operate in readers:
        context = {"pipeline": pipeline, "can_operate": can_operate, "picture": picture}
        with translation.override(language):
            pieces = [
                partial(f"#{name.replace('_', '-')}", render_to_string(f"{_TEMPLATE}#{name}", context))
                for name in _PARTS
            ]
            for placed in told:
                mine = {
                    **context,
                    "stage": placed.stage,
                    "box": placed.box,
                    "box_width": picture.box_width,
                    "box_height": picture.box_height,
                }
                key = placed.stage.pk
                pieces.append(partial(f"#node-{key}", render_to_string(f"{_TEMPLATE}#stage_node", mine)))
                if not picture.folds:
                    pieces.append(partial(f"#stage-row-{key}", render_to_string(f"{_TEMPLATE}#stage_row", mine)))
            for fold in folds:
                html_of_fold = render_to_string(f"{_TEMPLATE}#stage_fold", {**context, "fold": fold})
                pieces.append(partial(f"#fold-{fold.first.pk}", html_of_fold))
            if picture.folds and moved:
                pieces.append(LOOK_AT_STAGES)
        html[language, can_operate] = "".join(pieces)
    return html
