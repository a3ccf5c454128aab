"""Leases on GPUs: taken in dispatch's transaction, released in the one that ends the attempt."""

from collections.abc import Collection
from uuid import UUID

from django.utils import timezone

from environments.models import Host
from pipelines.models import Attempt, GpuLease


def take(host: Host, attempts: Collection[Attempt], project_id: int) -> None:
    """What these attempts were given. Raises IntegrityError for a GPU that somebody has: nothing is started then."""
    GpuLease.objects.bulk_create(
        GpuLease(host=host, index=index, attempt=attempt, project_id=project_id)
        for attempt in attempts
        for index in attempt.gpus
    )


def release_one(lease: GpuLease, seconds: float) -> bool:
    """Give back a single GPU that was left behind; False when somebody else did."""
    held = GpuLease.objects.filter(pk=lease.pk, released_at=None)
    return held.update(released_at=timezone.now(), seconds=seconds) == 1


def release(attempts: Collection[UUID], seconds: float) -> int:
    """Give back what these attempts held for so long; how many GPUs. Once more changes nothing."""
    held = GpuLease.objects.filter(attempt__in=attempts, released_at=None)
    return held.update(released_at=timezone.now(), seconds=seconds)
