"""What can be asked about the rollouts of a stream. Query counts do not depend on the length of the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Avg, F, Max, Min, Q, QuerySet

from monitoring import clip
from monitoring.models import RolloutFile, Segment

MOST_POINTS: Final = 240


@dataclass(frozen=True)
class Point:
    """The rewards of the steps `first` to `last`: smallest, mean of the means, largest."""

    first: int
    last: int
    low: float
    mean: float
    high: float


def rollouts(segments: Sequence[Segment], attempt: int | None = None) -> QuerySet[RolloutFile]:
    """The steps that the attempts make up together, each as its newest attempt logged it; with `attempt` all of that
    one. By step."""
    ids = [segment.pk for segment in segments if attempt in (None, segment.attempt)]
    files = RolloutFile.objects.select_related("segment").order_by("step")
    if attempt is not None:
        return files.filter(segment__in=ids)
    ends = RolloutFile.objects.filter(segment__in=ids).order_by().values_list("segment")
    seen = {pk: (first, last) for pk, first, last in ends.annotate(first=Min("step"), last=Max("step"))}
    nothing = (None, None)
    parts = clip.canonical(
        [clip.Seen(one.pk, one.attempt, one.resumed_from, *seen.get(one.pk, nothing)) for one in segments]
    )
    within = Q(pk__in=[])
    for part in parts:
        within |= Q(segment=part.segment_id, step__range=(part.low, part.high))
    return files.filter(within)


def rolled_out(stream_id: UUID) -> list[int]:
    """The attempts that left any."""
    found = RolloutFile.objects.filter(segment__stream=stream_id).order_by("segment__attempt")
    return list(found.values_list("segment__attempt", flat=True).distinct())


def attempts_at(stream_id: UUID, step: int) -> list[int]:
    """The attempts that logged a step, in order."""
    found = RolloutFile.objects.filter(segment__stream=stream_id, step=step).order_by("segment__attempt")
    return list(found.values_list("segment__attempt", flat=True))


def nearest(files: QuerySet[RolloutFile], step: int | None) -> RolloutFile | None:
    """The file of a step; where there is none the one before it, or else the first. Without a step the newest."""
    below = files if step is None else files.filter(step__lte=step)
    return below.order_by("-step").first() or files.order_by("step").first()


@dataclass(frozen=True)
class Neighbours:
    """Where a step stands among those that are there: `position` from 1. Steps are None at the ends."""

    previous: int | None
    next: int | None
    newest: int
    position: int
    count: int


def neighbours(files: QuerySet[RolloutFile], step: int) -> Neighbours:
    """`files` has at least the file of `step`."""
    before = files.filter(step__lt=step)
    ends = files.order_by().aggregate(newest=Max("step"))
    previous = before.order_by("-step").values_list("step", flat=True).first()
    following = files.filter(step__gt=step).order_by("step").values_list("step", flat=True).first()
    return Neighbours(previous, following, ends["newest"], before.count() + 1, files.count())


def curve(files: QuerySet[RolloutFile], points: int = MOST_POINTS) -> list[Point]:
    """The rewards by step, at most `points`: with more steps some of them together. Steps without a reward that is a
    number are left out."""
    files = files.order_by().filter(reward_mean__isnull=False)
    ends = files.aggregate(first=Min("step"), last=Max("step"))
    first = ends["first"]
    if first is None:
        return []
    width = -(-(ends["last"] - first + 1) // points)
    found = (
        files.select_related(None)
        .annotate(bucket=(F("step") - first) / width)
        .values("bucket")
        .annotate(
            first=Min("step"), last=Max("step"), low=Min("reward_min"), mean=Avg("reward_mean"), high=Max("reward_max")
        )
        .order_by("bucket")
    )
    return [Point(row["first"], row["last"], row["low"], row["mean"], row["high"]) for row in found]
