"""GPUs that nobody uses and nobody else gets: leases of attempts that are over."""

from collections.abc import Iterator

from django.db.models import Exists, OuterRef

from pipelines.models import Attempt, GpuLease
from pipelines.services import gpu_leases
from pipelines.services.finish import Times
from pipelines.services.integrity_rows import Finding


def leases_of_ended_attempts(limit: int) -> Iterator[Finding]:
    """A lease is released when its attempt ends; who was deleted since holds none."""
    running = Attempt.objects.filter(pk=OuterRef("attempt"), outcome="")
    found = GpuLease.objects.select_related("attempt", "host").filter(~Exists(running), released_at=None)
    for lease in found[:limit]:
        if gpu_leases.release_one(lease, _seconds(lease.attempt)):
            yield Finding("gpu_lease", lease, f"GPU {lease.index} of {lease.host.name} was held by nobody; released")


def _seconds(attempt: Attempt | None) -> float:
    """What the attempt's own record says; of one that is gone nobody knows."""
    if attempt is None or attempt.completed_at is None:
        return 0.0
    return Times(attempt.started_at, attempt.completed_at).seconds
