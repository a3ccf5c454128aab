"""What becomes of the metrics of runs that nothing was read of for a while: packed whole, and forgotten in the end."""

import logging
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from monitoring.models import FlaggedStep, MetricChunk, MetricColumn, MetricRow, Segment, Stream
from monitoring.services import news
from monitoring.store import writing

logger = logging.getLogger(__name__)

MOST: Final = 50
"""Segments or streams of one pass: the rest is done in the next one."""


def tidy() -> None:
    """One pass. May run anywhere, at any time, twice."""
    now = timezone.now()
    quiet = now - timedelta(seconds=settings.METRICS_PACK_AFTER_S)
    loose = Segment.objects.filter(Q(unpacked__gt=0) | Q(small__gt=0), stream__updated_at__lt=quiet)
    for segment_id, stream_id in loose.values_list("pk", "stream_id")[:MOST]:
        _pack(segment_id, stream_id)
    if settings.METRICS_KEEP_S:
        old = Stream.objects.filter(
            updated_at__lt=now - timedelta(seconds=settings.METRICS_KEEP_S), segments__rows__gt=0
        )
        for stream_id in old.values_list("pk", flat=True).distinct()[:MOST]:
            _forget(stream_id)


def _pack(segment_id: int, stream_id: UUID) -> None:
    with transaction.atomic():
        Stream.objects.select_for_update().get(pk=stream_id)
        segment = Segment.objects.get(pk=segment_id)
        shelf = writing.seal(writing.shelf_of(segment))
        Segment.objects.filter(pk=segment_id).update(unpacked=shelf.unpacked, small=shelf.small, tops=list(shelf.tops))


def _forget(stream_id: UUID) -> None:
    """The steps go; the last values, the first-class metrics and how far the files were read stay."""
    with transaction.atomic():
        stream = Stream.objects.select_for_update().get(pk=stream_id)
        of_stream = {"segment__stream_id": stream_id}
        MetricRow.objects.filter(**of_stream).delete()
        MetricColumn.objects.filter(chunk__segment__stream_id=stream_id).delete()
        MetricChunk.objects.filter(**of_stream).delete()
        FlaggedStep.objects.filter(**of_stream).delete()
        Segment.objects.filter(stream_id=stream_id).update(
            rows=0, unpacked=0, small=0, tops=[], first_step=None, last_step=None, first_time=None, last_time=None
        )
        Stream.objects.filter(pk=stream_id).update(
            version=F("version") + 1,
            rebased_version=F("version") + 1,
            warnings=[*stream.warnings, {"code": "forgotten", "after_s": settings.METRICS_KEEP_S}],
        )
        news.announce(stream_id, stream.version + 1)
    logger.info("Job %s: its metrics were older than %d s and are forgotten", stream_id, settings.METRICS_KEEP_S)
