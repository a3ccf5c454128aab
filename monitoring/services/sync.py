"""Bring what the trainer wrote into the database: only new bytes, whole lines, each exactly once.

The file is read outside any transaction. Steps, what is made of them, offset and the stream's version then commit
together, and only if the segment still stands where the reading began (offset and generation are compared and set):
of two syncs at the same time one wins each batch, and the other goes on from there.
"""

import gc
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.transports import Tail, Transport
from monitoring.models import BadLine, Segment, Stream
from monitoring.readers.metrics import MetricsFile, NotAFile, Portion, Replaced, asks
from monitoring.services import diagnose, key_metrics, status_file
from monitoring.services.news import announce
from monitoring.store import lines, writing
from monitoring.store.writing import LARGE, Shelf
from monitoring.unread import BAD_LINES
from platform_site.common import plain
from platform_site.common.errors import NotFound

logger = logging.getLogger(__name__)

MOST_BATCHES: Final = 4096
MOST_BAD_KEPT: Final = 100


@dataclass(frozen=True)
class SyncResult:
    """Offsets are those of the latest attempt's file. `new_steps` and `bad_lines` are what this sync added."""

    new_steps: int = 0
    old_offset: int = 0
    new_offset: int = 0
    bad_lines: int = 0
    last_step: int | None = None
    has_anomaly: bool = False


@dataclass(frozen=True)
class _Read:
    """What a call made of a segment's file between two offsets; `stream` as it then stood, where that changed it."""

    new: int = 0
    bad: int = 0
    start: int = 0
    end: int = 0
    stream: Stream | None = None


class _Overtaken(Exception):
    """Another sync was first: nothing of this batch may stay."""


@dataclass(frozen=True)
class _Place:
    """Where a segment stands: what a batch starts from and must still find when it commits."""

    offset: int
    generation: int
    fingerprint: str
    skip_from: int | None


def open_segment(stream_id: UUID, *, attempt: int, path: str, resumed_from: int | None = None) -> Segment:
    """The segment of an attempt, made on the first call. A later attempt clips what the earlier ones logged after
    `resumed_from` (after nothing, when it starts anew)."""
    with transaction.atomic():
        stream = Stream.objects.select_for_update().get(pk=stream_id)
        segment, created = Segment.objects.get_or_create(
            stream_id=stream_id, attempt=attempt, defaults={"path": path, "resumed_from": resumed_from}
        )
        if not created and (segment.path, segment.resumed_from) != (path, resumed_from):
            segment.path, segment.resumed_from = path, resumed_from
            segment.save(update_fields=["path", "resumed_from"])
        elif not created or attempt == 1:
            return segment
        version = stream.version + 1
        Stream.objects.filter(pk=stream_id).update(
            version=version,
            rebased_version=version,
            last_step=_last_step(stream_id),
            pace_s=None,
            updated_at=timezone.now(),
        )
        key_metrics.renew(stream_id, stream.names)
        announce(stream_id, version)
    return segment


def sync_stream(stream_id: UUID, transport: Transport, segments: Iterable[Segment] | None = None) -> SyncResult:
    """Read what is new in all files of a stream. Raises Unreachable and TransportError of the transport; what was
    read before that is kept.

    `segments` are those of the stream by attempt, where the caller has just read them for many streams at once. What
    others read since changes nothing: each batch goes on from where the segment stands.
    """
    new_steps = bad_lines = 0
    read, latest, stream = _Read(), None, None
    if segments is None:
        segments = plain.select(Segment, {"stream_id": stream_id}, order=["attempt"])
    for latest in segments:
        read = _sync_segment(latest, transport)
        stream = read.stream or stream
        new_steps += read.new
        bad_lines += read.bad
        if read.new or read.bad or read.end != read.start:
            logger.info("Job %s: synced %d (offset %d -> %d)", stream_id, read.new, read.start, read.end)
    if latest is None:
        return SyncResult()
    stream = stream or latest.stream
    flagged = status_file.take_over(stream, latest.path, transport)
    return SyncResult(
        new_steps,
        read.start,
        read.end,
        bad_lines,
        last_step=stream.last_step,
        has_anomaly=stream.has_anomaly or flagged,
    )


def sync_ahead(segments: Iterable[Segment]) -> list[Tail]:
    """What `sync_stream` asks of the host for these first, where it may be brought for many streams at once."""
    known = list(segments)
    asked = [asks(segment.path, segment.offset, segment.fingerprint) for segment in known]
    return asked + [status_file.ahead(segment.path) for segment in known[-1:]]


def _sync_segment(segment: Segment, transport: Transport) -> _Read:
    new_steps = bad_lines = 0
    stream: Stream | None = None
    place = _place_of(segment)
    start = place.offset
    file = MetricsFile(transport, segment.path)
    for _batch in range(MOST_BATCHES):
        try:
            portion = file.read(place.offset, place.fingerprint)
        except NotAFile:
            _warn(segment.stream_id, {"code": "not_a_file", "path": segment.path})
            break
        except Replaced:
            # A new generation, read from the start. What it repeats changes nothing.
            new_place = replace(place, offset=0, generation=place.generation + 1, fingerprint="", skip_from=None)
            place = new_place if _move(segment.pk, place, new_place) else _fresh(segment)
            logger.warning("Job %s: %s was replaced or cut; reading it anew", segment.stream_id, segment.path)
            continue
        if portion is None:
            break
        with _collector_at_rest():
            parsed = lines.parse(portion.data, place.offset, place.skip_from, _most_of(portion))
            if not parsed.consumed:
                break
            after = replace(
                place,
                offset=place.offset + parsed.consumed,
                fingerprint=portion.fingerprint(parsed.consumed),
                skip_from=parsed.skip_from,
            )
            try:
                new, stream = _commit(segment, place, after, parsed, lines.merge(parsed.lines))
            except _Overtaken:
                place = _fresh(segment)
                start = place.offset
                continue
        new_steps += new
        bad_lines += len(parsed.bad)
        place = after
        if not portion.more:
            break
    return _Read(new_steps, bad_lines, start, place.offset, stream)


def _most_of(portion: Portion) -> float:
    """How many lines of it are taken: while more is to come, only as many as fill large chunks. To keep the others
    for the next batch costs less than to store them in small chunks that it makes a large one of."""
    return (portion.more and portion.data.count(b"\n") // LARGE * LARGE) or math.inf


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """A portion has up to ten thousand steps, none of them in a cycle: looking through them, and all of Django, again
    and again took a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _commit(
    segment: Segment, before: _Place, after: _Place, parsed: lines.Parsed, steps: dict[int, lines.Step]
) -> tuple[int, Stream]:
    """One batch in one transaction: how many new steps, and the stream then. Raises _Overtaken, and nothing is kept."""
    with transaction.atomic():
        # First of all, so that it waits for whoever else is writing, and sees what that one wrote.
        stream = next(iter(plain.select(Stream, {"id": segment.stream_id}, lock=True)), None)
        if stream is None:
            raise _deleted()
        *_, latest = every = plain.select(Segment, {"stream_id": stream.pk}, order=["attempt"])
        segment = next(one for one in every if one.pk == segment.pk)
        if _place_of(segment) != before:
            raise _Overtaken
        if parsed.bad:
            _keep_bad(segment.pk, after.generation, parsed.bad)
        if not steps and not parsed.dropped and not parsed.bad:
            _put(segment, before, after)
            return 0, stream
        version = stream.version + 1
        names, refused = lines.admit(steps, parsed.names, stream.names)
        bad_lines = sum(one.bad_lines for one in every) + len(parsed.bad)
        warnings = _with_warnings(stream.warnings, refused, parsed.dropped, bad_lines)
        written = writing.write(writing.shelf_of(segment), steps, version)
        if not written.changed and warnings == stream.warnings:
            _put(segment, before, after)
            return 0, stream
        ordered = [steps[step] for step in sorted(steps)]
        is_latest = segment is latest
        _put(segment, before, after, **_shelved(segment, written.shelf, ordered))
        changes: dict[str, Any] = {
            "version": version,
            "names": names,
            "warnings": warnings,
        }
        if ordered:
            changes["updated_at"] = timezone.now()
        if written.rebased is not None:
            changes["rebased_version"] = max(written.rebased, stream.rebased_version)
        if is_latest:
            changes["last_step"] = segment.last_step if segment.last_step is not None else segment.resumed_from
            changes["pace_s"] = _pace_s(segment)
        for step in ordered:
            if step.anomaly is not None:
                changes |= {
                    "has_anomaly": True,
                    "anomaly_type": step.anomaly.type,
                    "anomaly_message": step.anomaly.message,
                    "anomaly_step": step.step,
                }
        plain.update(Stream, {"id": stream.pk}, changes)
        _steps_are_known(stream, segment, ordered, names, of_latest=is_latest)
        announce(stream.pk, version)
    _set(stream, changes)
    return written.new, stream


def _steps_are_known(
    stream: Stream, segment: Segment, steps: Sequence[lines.Step], names: Sequence[str], *, of_latest: bool
) -> None:
    """What else is made of new steps (ascending, with their values) is made here, in the transaction that brought
    them. `of_latest`: they are of the latest attempt."""
    if of_latest:
        key_metrics.extend(stream.pk, names, steps)
    else:
        key_metrics.renew(stream.pk, names)
    diagnose.read(stream, segment, steps)


def _shelved(segment: Segment, shelf: Shelf, steps: Sequence[lines.Step]) -> dict[str, Any]:
    """Where the segment now stands in the store, and when its first and last step were: what changed of its row."""
    changes: dict[str, Any] = {
        "rows": shelf.rows,
        "unpacked": shelf.unpacked,
        "small": shelf.small,
        "tops": list(shelf.tops),
    }
    if steps and (segment.first_step is None or steps[0].step <= segment.first_step):
        changes |= {"first_step": steps[0].step, "first_time": _given(steps[0].time, segment.first_time)}
    if steps and (segment.last_step is None or steps[-1].step >= segment.last_step):
        changes |= {"last_step": steps[-1].step, "last_time": _given(steps[-1].time, segment.last_time)}
    return changes


def _put(segment: Segment, before: _Place, after: _Place, **changes: Any) -> None:
    """Move a segment on, with what else changed of it. Raises _Overtaken."""
    if not _move(segment.pk, before, after, **changes):
        raise _Overtaken
    _set(segment, changes)


def _move(segment_id: int, before: _Place, after: _Place, **changes: Any) -> bool:
    """Compare and set."""
    stands = {"id": segment_id, "offset": before.offset, "generation": before.generation}
    return plain.update(Segment, stands, {**asdict(after), **changes}) == 1


def _pace_s(segment: Segment) -> float | None:
    """From the first step to the last by the trainer's clock; None before the second step."""
    if segment.first_time is None or segment.last_time is None or segment.last_step == segment.first_step:
        return None
    assert segment.first_step is not None
    assert segment.last_step is not None
    pace = (segment.last_time - segment.first_time) / (segment.last_step - segment.first_step)
    return pace if 0 < pace < math.inf else None


def _keep_bad(segment_id: int, generation: int, bad: list[lines.Bad]) -> None:
    kept = BadLine.objects.filter(segment_id=segment_id).count()
    Segment.objects.filter(pk=segment_id).update(bad_lines=F("bad_lines") + len(bad))
    BadLine.objects.bulk_create(
        [
            BadLine(
                segment_id=segment_id, generation=generation, offset=b.offset, reason=b.reason[:200], excerpt=b.excerpt
            )
            for b in bad[: max(0, MOST_BAD_KEPT - kept)]
        ],
        ignore_conflicts=True,
    )


def _with_warnings(
    known: list[dict[str, Any]], refused: int, dropped: set[str], bad_lines: int
) -> list[dict[str, Any]]:
    """At most one warning of each kind, with what it was last seen for."""
    by_code = {warning["code"]: warning for warning in known}
    if refused:
        by_code["too_many_names"] = {"code": "too_many_names", "limit": lines.MAX_NAMES, "refused": refused}
    if dropped:
        seen = {*by_code.get("not_a_metric", {}).get("names", []), *dropped}
        by_code["not_a_metric"] = {"code": "not_a_metric", "names": sorted(seen)[:20]}
    if bad_lines:
        by_code[BAD_LINES] = {"code": BAD_LINES, "count": bad_lines}
    return list(by_code.values())


def _warn(stream_id: UUID, warning: dict[str, Any]) -> None:
    with transaction.atomic():
        stream = Stream.objects.select_for_update().get(pk=stream_id)
        if warning in stream.warnings:
            return
        logger.warning("Job %s: %s", stream_id, warning)
        version = stream.version + 1
        others = [known for known in stream.warnings if known["code"] != warning["code"]]
        Stream.objects.filter(pk=stream_id).update(version=version, warnings=[*others, warning])
        announce(stream_id, version)


def _last_step(stream_id: UUID) -> int | None:
    """Of the latest attempt; before its first step, where it resumed from."""
    segment = Segment.objects.filter(stream_id=stream_id).order_by("-attempt").first()
    if segment is None:
        return None
    return segment.last_step if segment.last_step is not None else segment.resumed_from


def _place_of(segment: Segment) -> _Place:
    return _Place(segment.offset, segment.generation, segment.fingerprint, segment.skip_from)


def _set(row: Stream | Segment, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        setattr(row, name, value)


def _given(time: float | None, known: float | None) -> float | None:
    return known if time is None else time


def _fresh(segment: Segment) -> _Place:
    """Another sync was first: go on from where it brought the segment."""
    found = Segment.objects.filter(pk=segment.pk).first()
    if found is None:
        raise _deleted()
    return _place_of(found)


def _deleted() -> NotFound:
    return NotFound(_("The run was deleted while it was read."))
