"""A pipeline's graph and time line, ready for the templates: what stands where, from rows that are at hand."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from django.utils import timezone

from .drawing import BOX_HEIGHT, BOX_WIDTH, Bar, Box, Drawing, Span, bars, draw
from .folding import MOST_NODES, fold
from .graph import Node
from .models import Pipeline, Stage
from .selectors import task_state

URGENCY: Final = (
    "failed", "cancelling", "running", "starting", "queued", "pending", "cancelled", "skipped", "completed",
)  # fmt: skip
"""Which statuses of many stages are told first; the first is what their node looks like."""
FOLD_HEIGHT: Final = 104
FOLD_LINES: Final = 4


@dataclass(frozen=True)
class Count:
    """So many stages of a status; without one, of all the other statuses together."""

    n: int
    status: str = ""


def counted(stages: Iterable[Stage]) -> list[Count]:
    """By status, the most urgent first."""
    found = Counter(stage.status for stage in stages)
    return [Count(found[status], status) for status in URGENCY if found[status]]


@dataclass(frozen=True)
class Placed:
    stage: Stage
    box: Box


@dataclass(frozen=True)
class Folded:
    """Many stages as one node, named like the first of them."""

    stages: list[Stage]
    box: Box

    @property
    def first(self) -> Stage:
        return self.stages[0]

    @property
    def kind(self) -> str:
        """The kind that all have; empty where they differ."""
        return self.first.kind if len({stage.kind for stage in self.stages}) == 1 else ""

    @property
    def counts(self) -> list[Count]:
        return counted(self.stages)

    @property
    def lines(self) -> list[Count]:
        """As many counts as a node has room for."""
        counts = self.counts
        if len(counts) <= FOLD_LINES:
            return counts
        return [*counts[: FOLD_LINES - 1], Count(sum(count.n for count in counts[FOLD_LINES - 1 :]))]

    @property
    def version(self) -> int:
        """Grows with each change of any of them."""
        return sum(stage.version for stage in self.stages)


@dataclass(frozen=True)
class Picture:
    """`folds` are empty up to MOST_NODES stages."""

    drawing: Drawing
    nodes: list[Placed]
    folds: list[Folded]
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT
    fold_height: int = FOLD_HEIGHT


def picture_of(stages: Sequence[Stage]) -> Picture:
    """The graph of all stages of a pipeline, each with its needs at hand; folded where they are many."""
    nodes = tuple(Node(stage.name, tuple(above.name for above in stage.depends_on.all())) for stage in stages)
    if len(nodes) <= MOST_NODES:
        drawing = draw(nodes)
        return Picture(drawing, [Placed(stage, box) for stage, box in zip(stages, drawing.boxes, strict=True)], [])
    by_name = {stage.name: stage for stage in stages}
    folds = fold(nodes, tuple(stage.kind for stage in stages))
    drawing = draw(tuple(Node(found.name, found.needs) for found in folds), FOLD_HEIGHT)
    picture = Picture(drawing, [], [])
    for found, box in zip(folds, drawing.boxes, strict=True):
        if len(found.names) > 1:
            picture.folds.append(Folded([by_name[name] for name in found.names], box))
        else:
            picture.nodes.append(Placed(by_name[found.name], replace(box, y=box.y + (FOLD_HEIGHT - BOX_HEIGHT) // 2)))
    return picture


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
