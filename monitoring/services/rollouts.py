"""Find the rollout files of an attempt and keep their figures. The files stay the truth, and are read on demand.

Two steps, so that nothing is lost and nothing held up: every new name becomes a row at once, and the files are read
as far as one look may. What is still unread when a run has ended is read when somebody opens it.
"""

import logging
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Max

from environments.transports import Transport, TransportError, Unreachable
from environments.transports.streams import opened
from monitoring.models import RolloutFile, Segment, Stream
from monitoring.readers import rollouts as reader
from monitoring.services import news
from platform_runtime import rollouts as form

logger = logging.getLogger(__name__)

MOST_NEW: Final = 5_000
"""Files that become rows in one look."""
GONE: Final = "the file is gone"


@dataclass(frozen=True)
class Budget:
    """What one look may read. The file that goes beyond `bytes` is the last, so each look reads at least one."""

    files: int
    bytes: int


LOOK: Final = Budget(files=50, bytes=32 << 20)
LAST_LOOK: Final = Budget(files=1_000, bytes=512 << 20)


def index_rollouts(stream_id: UUID, attempt: int, folder: str, transport: Transport, budget: Budget = LOOK) -> int:
    """Take in what is new in `folder`, the rollouts of an attempt; how many files are still unread. Raises Unreachable.

    Any number may do so at a time: a row is made once, and its figures are those of the file whoever reads it.
    """
    segment = Segment.objects.filter(stream_id=stream_id, attempt=attempt).first()
    if segment is None:
        return 0
    changed = _take_names(segment, folder, transport)
    unread = RolloutFile.objects.filter(segment=segment, samples=None, problem="").order_by("step")
    left, rows = budget.bytes, list(unread[: budget.files])
    try:
        for row in rows:
            if left <= 0:
                break
            changed |= _read(row, folder, transport)
            left -= row.size or 0
    finally:
        if changed:
            announce(stream_id)
    return unread.count() if rows else 0


def survey(path: str, step: int, transport: Transport) -> reader.Survey:
    """Raises FileNotFoundError, and what the transport raises for what is no file."""
    with opened(transport, path) as file:
        return reader.survey(file, step)


def keep_survey(file: RolloutFile, found: reader.Survey, path: str, transport: Transport) -> None:
    """Have the index say what was just read, and tell it where that is news."""
    if _keep_figures(file, found, path, transport):
        announce(file.segment.stream_id)


def keep_problem(file: RolloutFile, error: Exception, path: str) -> None:
    """Have the index say that a file could not be read, and tell it where that is news."""
    if _keep(file, problem=problem_of(error, path)):
        announce(file.segment.stream_id)


def announce(stream_id: UUID) -> None:
    """Tell open pages that the figures of a stream's rollouts changed. When a step was last logged stays as it was."""
    with transaction.atomic():
        Stream.objects.filter(pk=stream_id).update(version=F("version") + 1)
        version = Stream.objects.values_list("version", flat=True).filter(pk=stream_id).first()
        if version is not None:
            news.announce(stream_id, version)


def problem_of(error: Exception, path: str) -> str:
    """In words, without the path: whoever asks knows of which file."""
    return GONE if isinstance(error, FileNotFoundError) else str(error).removeprefix(f"{path}: ")[:300]


def _read(file: RolloutFile, folder: str, transport: Transport) -> bool:
    """Read a file for its figures; whether the row changed. Raises Unreachable."""
    path = form.path(folder, file.step)
    try:
        found = survey(path, file.step, transport)
    except Unreachable:
        raise
    except (FileNotFoundError, TransportError) as error:
        return _keep(file, problem=problem_of(error, path))
    return _keep_figures(file, found, path, transport)


def _keep_figures(file: RolloutFile, found: reader.Survey, path: str, transport: Transport) -> bool:
    stat = transport.stat(path)
    figures = reader.figures(found.places)
    return _keep(
        file,
        problem="",
        size=stat.size if stat is not None else file.size,
        samples=figures.samples,
        groups=figures.groups,
        reward_min=figures.reward_min,
        reward_mean=figures.reward_mean,
        reward_max=figures.reward_max,
        bad_lines=found.bad_lines,
        cut=found.cut,
    )


def _keep(file: RolloutFile, **values: object) -> bool:
    """Whether the row said anything else before."""
    if all(getattr(file, name) == value for name, value in values.items()):
        return False
    for name, value in values.items():
        setattr(file, name, value)
    return RolloutFile.objects.filter(pk=file.pk).update(**values) == 1


def _take_names(segment: Segment, folder: str, transport: Transport) -> bool:
    """A row for each file that has none; whether there were any."""
    if not transport.is_folder(folder):
        return False
    steps = {step for name in transport.listdir(folder) if (step := form.step_of(name)) is not None}
    if not steps:
        return False
    known = RolloutFile.objects.filter(segment=segment)
    if known.aggregate(count=Count("pk"), last=Max("step")) == {"count": len(steps), "last": max(steps)}:
        return False
    new = sorted(steps.difference(known.values_list("step", flat=True)))[:MOST_NEW]
    RolloutFile.objects.bulk_create([RolloutFile(segment=segment, step=step) for step in new], ignore_conflicts=True)
    return bool(new)
