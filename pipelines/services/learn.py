"""What healthy runs teach the doctor: read once each when they have ended, asked when a run of their kind begins."""

import logging
import math
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from monitoring import selectors
from monitoring.diagnostics.core import Sample, Severity
from monitoring.diagnostics.learning import Learnt, learn, reach
from monitoring.diagnostics.rules import rules_for
from monitoring.models import Finding, Stream
from monitoring.thresholds import is_set, kept
from pipelines.models import Job
from pipelines.states import StageStatus
from platform_site.common.messages import send
from platform_site.common.outages import PASSING
from platform_site.common.queues import MAINTENANCE

logger = logging.getLogger(__name__)

MOST_RUNS: Final = 50
"""The newest that are learnt from: what was healthy a hundred runs ago may be another thing today."""
MOST_SENT: Final = 20
CHUNK: Final = 2000


def healthy_runs() -> QuerySet[Job]:
    """Those that completed and were called good; else those whose trainer flagged nothing, of which no finding is an
    error, and which nobody called bad or answered with another run."""
    findings = Finding.objects.filter(stream=OuterRef("stream"), clipped=False)
    untroubled = Q(
        ~Exists(findings.filter(severity__gte=Severity.ERROR)),
        ~Exists(findings.filter(runs__isnull=False)),
        judged="",
        stream__has_anomaly=False,
    )
    return Job.objects.filter(
        untroubled | Q(judged=Job.Judged.GOOD),
        stage__status=StageStatus.COMPLETED,
        stream__last_step__isnull=False,
    )


def send_unread() -> None:
    """Have workers read the healthy runs that nothing was learnt from yet: what ended since the last look."""
    unread = healthy_runs().filter(stream__reach__isnull=True).order_by("stage__completed_at")
    for stream_id in unread.values_list("stream_id", flat=True)[:MOST_SENT]:
        send("learn_from_run", MAINTENANCE, str(stream_id))


def learn_from(stream_id: UUID) -> None:
    """Keep how far the figures of a run went: none where they cannot be told. May run twice.

    A run that nothing can be learnt from counts as read: sent again and again, such runs would crowd out all others.
    Where the database is away it is raised: that passes.
    """
    stream = Stream.objects.get(pk=stream_id)
    try:
        found = reach(_samples(stream_id), rules_for(stream.algorithm))
    except PASSING:
        raise  # the next maintenance sends it again
    except Exception:
        logger.exception("Nothing is learnt from run %s", stream_id)
        found = {}
    if endless := sorted(rule for rule, figure in found.items() if not math.isfinite(figure)):
        logger.warning("Nothing is learnt from run %s: a figure of %s is not finite", stream_id, ", ".join(endless))
        found = {}
    Stream.objects.filter(pk=stream_id).update(reach=found)


def _samples(stream_id: UUID) -> Iterable[tuple[int, list[Sample]]]:
    """The series as it counts, by attempt, so many steps at a time."""
    segments = selectors.segments(stream_id)
    for part in selectors.parts_of(segments):
        rows = selectors.iterate_rows(segments, start_step=part.low, end_step=part.high, attempt=part.attempt)
        while chunk := [Sample(row.step, row.time, row.values) for row in islice(rows, CHUNK)]:
            yield part.attempt, chunk


def learnt_for(job: Job, before: datetime | None = None) -> tuple[int, dict[str, Learnt]]:
    """How many healthy runs of its algorithm and base model there are, and the limits that they set; of those that had
    ended `before`, where that is given. What settings say is left alone."""
    runs = healthy_runs().filter(
        project_id=job.project_id,
        stream__algorithm=job.stream.algorithm,
        recipe_revision__base_model=job.recipe_revision.base_model,
        stream__reach__isnull=False,
    )
    if before is not None:
        runs = runs.filter(stage__completed_at__lt=before)
    newest = runs.exclude(pk=job.pk).order_by("-stage__completed_at", "pk")
    reaches = [reach or {} for reach in newest.values_list("stream__reach", flat=True)[:MOST_RUNS]]
    rules = {name: rule for name, rule in rules_for(job.stream.algorithm).items() if not is_set(name)}
    return len(reaches), learn(reaches, rules)


def keep_learnt(job: Job) -> None:
    """Fix the thresholds that a run goes by, when it begins; its later attempts go by the same."""
    runs, found = learnt_for(job) if settings.LEARN_THRESHOLDS else (None, {})
    Stream.objects.filter(pk=job.stream_id, learnt__isnull=True).update(learnt=kept(runs, found))
    job.stream.refresh_from_db(fields=["learnt"])
