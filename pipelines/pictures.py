"""A pipeline's graph and time line, ready for the templates: what stands where, from rows that are at hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from .drawing import BOX_HEIGHT, BOX_WIDTH, Bar, Box, Drawing, Span, bars, draw
from .graph import Node
from .models import Pipeline, Stage
from .selectors import task_state


@dataclass(frozen=True)
class Placed:
    stage: Stage
    box: Box


@dataclass(frozen=True)
class Picture:
    drawing: Drawing
    nodes: list[Placed]
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT


def picture_of(stages: Sequence[Stage]) -> Picture:
    """The graph of all stages of a pipeline, each with its needs at hand."""
    drawing = draw(tuple(Node(stage.name, tuple(above.name for above in stage.depends_on.all())) for stage in stages))
    return Picture(drawing, [Placed(stage, box) for stage, box in zip(stages, drawing.boxes, strict=True)])


@dataclass(frozen=True)
class Lane:
    stage: Stage
    bars: list[Bar]


@dataclass(frozen=True)
class Timeline:
    """`seconds` from `begin` to the right edge."""

    begin: datetime
    seconds: float
    lanes: list[Lane]


def timeline_of(pipeline: Pipeline, stages: Sequence[Stage]) -> Timeline | None:
    """When each attempt waited and worked; None before the start."""
    if pipeline.started_at is None:
        return None
    now = timezone.now()
    begin, end = pipeline.started_at, pipeline.completed_at or now
    lanes = []
    for stage in stages:
        spans = []
        for attempt in stage.attempts.all():
            # The reverse side of a prefetch does not know its stage.
            attempt.stage = stage
            over = attempt.completed_at or end
            work = attempt.started_at or over
            if work > attempt.created_at:
                spans.append(Span(attempt.created_at, work, "queued"))
            if attempt.started_at is not None:
                spans.append(Span(attempt.started_at, over, task_state(attempt)))
        lanes.append(Lane(stage, bars(spans, begin, end)))
    return Timeline(begin, (end - begin).total_seconds(), lanes)
