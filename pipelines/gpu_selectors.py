"""GPUs as people see them: who has which one, and how much was used. A constant number of queries."""

from dataclasses import dataclass

from django.db.models import QuerySet, Sum
from django.utils.translation import ngettext

from environments import gpus
from environments.models import Host
from platform_site.common.models import Project
from platform_site.common.selectors import projects_for

from .models import Attempt, GpuLease, Stage
from .selectors import Person, duration_s

HOUR_S = 3600.0


@dataclass(frozen=True)
class Slot:
    """One GPU, and the attempt that has it."""

    index: int
    name: str
    memory_gib: float
    attempt: Attempt | None


@dataclass(frozen=True)
class HostSlots:
    host: Host
    slots: list[Slot]

    @property
    def used(self) -> int:
        return sum(slot.attempt is not None for slot in self.slots)


@dataclass(frozen=True)
class Usage:
    project: Project
    gpu_hours: float


def gpu_slots(user: Person) -> list[HostSlots]:
    """Hosts that have GPUs. One that is leased is shown also where its host no longer knows it."""
    held: dict[tuple[int, int], Attempt | None] = {
        (lease.host_id, lease.index): lease.attempt for lease in _open().select_related("attempt__stage__pipeline")
    }
    found = []
    for host in Host.objects.filter(project__in=projects_for(user)):
        known = {gpu.index: gpu for gpu in gpus.read(host.gpus)}
        indices = sorted({*known, *(index for host_id, index in held if host_id == host.pk)})
        slots = [_slot(known.get(index) or gpus.HostGpu(index), held.get((host.pk, index))) for index in indices]
        if slots:
            found.append(HostSlots(host, slots))
    return found


def gpu_hours(user: Person) -> list[Usage]:
    """Of each project that ever used a GPU: what ended, and what runs so far."""
    projects = projects_for(user)
    seconds: dict[int, float] = dict(
        GpuLease.objects.filter(project__in=projects, released_at__isnull=False)
        .order_by()
        .values_list("project")
        .annotate(total=Sum("seconds"))
    )
    for lease in _open().filter(project__in=projects).select_related("attempt"):
        ran = duration_s(lease.attempt.started_at, None) if lease.attempt is not None else None
        seconds[lease.project_id] = seconds.get(lease.project_id, 0.0) + (ran or 0.0)
    return [
        Usage(project, seconds[project.pk] / HOUR_S) for project in projects.filter(pk__in=seconds).order_by("slug")
    ]


def gpu_hours_of(stage: Stage) -> float:
    """Of all its attempts, which are at hand: a lease lasts as long as its attempt."""
    seconds = (
        len(attempt.gpus) * (duration_s(attempt.started_at, attempt.completed_at) or 0.0)
        for attempt in stage.attempts.all()
        if attempt.gpus
    )
    return sum(seconds) / HOUR_S


def needed(count: int, memory_gib: float) -> str:
    """4 GPUs with 80 GiB each."""
    if memory_gib:
        told = ngettext("%(count)s GPU with %(memory)s GiB", "%(count)s GPUs with %(memory)s GiB each", count)
        return told % {"count": count, "memory": f"{memory_gib:g}"}
    return ngettext("%(count)s GPU", "%(count)s GPUs", count) % {"count": count}


def _open() -> QuerySet[GpuLease]:
    return GpuLease.objects.filter(released_at=None)


def _slot(gpu: gpus.HostGpu, attempt: Attempt | None) -> Slot:
    return Slot(gpu.index, gpu.name, round(gpu.memory_mib / 1024, 1), attempt)
