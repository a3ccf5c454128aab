"""Take in what the runner samples of its machine: only new bytes, each sample once, in a bounded number of rows."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from environments.transports import Tail, Transport
from monitoring import notices, system
from monitoring.models import Segment, Stream, SystemLog, SystemSample
from monitoring.system_selectors import free_bytes
from platform_runtime.message import ContractError
from platform_runtime.system import PERIOD_S
from platform_runtime.system import SystemSample as Sample
from platform_site.common import live

LOOK_EVERY: Final = timedelta(seconds=PERIOD_S - 1)
"""Runs are looked at far more often than their machine is sampled."""
READ: Final = 256 * 1024
FORECAST_EVERY: Final = 12
"""Samples: a minute."""
MOST_READS: Final = 16
"""More than the runner's file ever holds."""


def sync_system(segment: Segment, path: str, transport: Transport) -> bool:
    """Of one attempt's machine; whether there was anything new. Raises Unreachable and TransportError.

    Any number may do so at a time: of two who read the same, one commits.
    """
    log = getattr(segment, "system", None)
    if log is None:
        log, _made = SystemLog.objects.get_or_create(segment=segment, defaults={"width_s": PERIOD_S})
    if not _is_due(log):
        return False
    SystemLog.objects.filter(pk=log.pk).update(looked_at=timezone.now())
    offset = log.offset
    found, data = transport.tail(path, offset, READ)
    if found is None or not found.is_file:
        return False
    if offset and (found.inode != log.inode or found.size < offset):
        # A file that was thinned out is another one; what it repeats is known by its number.
        offset, data = 0, transport.tail(path, 0, READ)[1]
    samples, offset = _read(path, offset, data, log.last_n, transport)
    if not samples and (offset, found.inode) == (log.offset, log.inode):
        return False
    return _keep(log, samples, offset, found.inode, segment.stream_id)


def system_ahead(segment: Segment, path: str) -> list[Tail]:
    """What `sync_system` asks of the host first, where it is time to."""
    log = getattr(segment, "system", None)
    return [Tail(path, log.offset, READ)] if log is not None and _is_due(log) else []


def _is_due(log: SystemLog) -> bool:
    """A look that lies ahead is of a clock that was set since."""
    return log.looked_at is None or not timedelta() <= timezone.now() - log.looked_at < LOOK_EVERY


def _read(path: str, offset: int, data: bytes, last_n: int, transport: Transport) -> tuple[list[Sample], int]:
    """The samples behind `last_n` from whole lines, and up to where these go. `data`: what stands at `offset`."""
    samples: list[Sample] = []
    for _ in range(MOST_READS):
        end = data.rfind(b"\n") + 1
        for line in data[:end].splitlines():
            try:
                sample = Sample.from_line(line)
            except ContractError:
                continue  # cut short by a full disk: a sample less
            if sample.n > last_n:
                last_n = sample.n
                samples.append(sample)
        # What fills the room without an end of line is no sample.
        offset += end if end or len(data) < READ else len(data)
        if len(data) < READ:
            break
        _found, data = transport.tail(path, offset, READ)
    return samples, offset


def _keep(log: SystemLog, samples: list[Sample], offset: int, inode: int, stream_id: UUID) -> bool:
    with transaction.atomic():
        last_n = samples[-1].n if samples else log.last_n
        # Compare and set, and the first statement of its transaction: whoever else reads the same waits, and loses.
        if not SystemLog.objects.filter(pk=log.pk, offset=log.offset, last_n=log.last_n).update(
            offset=offset, inode=inode, last_n=last_n
        ):
            return False
        if not samples:
            return False
        width_s = SystemLog.objects.values_list("width_s", flat=True).get(pk=log.pk)
        new = system.rows_of(samples, width_s)
        known = {
            row.index: system.Row(row.index, row.samples, row.time, row.values)
            for row in SystemSample.objects.filter(log=log, index__in=new)
        }
        merged = {i: system.joined(known[i], row, i) if i in known else row for i, row in new.items()}
        kept = set(SystemSample.objects.filter(log=log).values_list("index", flat=True))
        times = system.fitting(kept | merged.keys())
        if times > 1:
            old = SystemSample.objects.filter(log=log).exclude(index__in=merged)
            rows = [system.Row(row.index, row.samples, row.time, row.values) for row in old]
            merged = system.gathered(sorted([*rows, *merged.values()], key=lambda row: row.index), times)
            SystemSample.objects.filter(log=log).delete()
            SystemLog.objects.filter(pk=log.pk).update(width_s=F("width_s") * times)
        SystemSample.objects.bulk_create(
            [
                SystemSample(log=log, index=row.index, samples=row.count, time=row.time, values=row.values)
                for row in merged.values()
            ],
            update_conflicts=True,
            unique_fields=["log", "index"],
            update_fields=["samples", "time", "values"],
        )
        if last_n // FORECAST_EVERY > log.last_n // FORECAST_EVERY:
            _forecast(log, stream_id)
        live.push_on_commit(f"system.{stream_id}", stream=str(stream_id))
    return True


def _forecast(log: SystemLog, stream_id: UUID) -> None:
    full_in_s = system.keeps_filling(free_bytes(log, system.RECENT), notices.SOON_S)
    if full_in_s is not None:
        notices.disk_fills(Stream.objects.get(pk=stream_id), log.segment.attempt, full_in_s)
