"""The hosts as dispatch finds them, and what each stage is given there. `pipelines.placement` decides."""

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Final
from uuid import UUID

from django.db.models import Q
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from environments import training
from environments.models import Host
from environments.services.reach import silence
from pipelines import placement
from pipelines.kinds import inline_names, is_inline, needs_training_environment, set_up_names
from pipelines.models import Attempt, GpuLease, Stage
from pipelines.placement import Ask, Placed, Waits, Why
from pipelines.services.rooms import room_of, told
from pipelines.states import STAGE_ACTIVE, PipelineStatus, StageStatus
from platform_site.common import clock, plain

NOWHERE: Final = "/"
"""No host's name: of a stage whose host is switched off."""

Shape = tuple[str, int | None, int, float, str]
"""What decides whether a stage can start: kind, host, GPUs, their memory, labels."""


class Places:
    """For one transaction: the rows of the hosts are locked. What nobody asks about is not looked up.

    `waiting` has the stages for which there is no room, by the reason; `given` the GPUs of those that got a place;
    `refused` what cannot start now, whoever asks: in one transaction the room only shrinks. `full`: not even a stage
    that asks for nothing of a host got a place.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, list[UUID]] = defaultdict(list)
        self.given: dict[UUID, tuple[int, ...]] = {}
        self.refused: set[Shape] = set()
        self.full = False
        self._leases_known = False

    @cached_property
    def _hosts(self) -> dict[str, Host]:
        hosts = plain.select(Host, {"enabled": True}, order=["name"], lock=True)
        return {host.name: host for host in hosts}

    @cached_property
    def _nearest(self) -> list[Host]:
        """This machine, then what answers."""
        return sorted(self._hosts.values(), key=lambda host: (not host.is_local, host.unreachable_since is not None))

    @cached_property
    def _environments(self) -> dict[str, training.TrainingState]:
        """One that is about to be changed is nobody's: who waits to change it would else wait for ever."""
        coming = Q(status__in=STAGE_ACTIVE) | Q(status=StageStatus.QUEUED, pipeline__status=PipelineStatus.RUNNING)
        changing = set(Stage.objects.filter(coming, kind__in=set_up_names()).values_list("host_id", flat=True))
        found = {name: training.state(host) for name, host in self._hosts.items()}
        for name, host in self._hosts.items():
            if host.pk in changing and found[name].ready:
                found[name] = replace(
                    found[name], status="installing", message=_("It is brought up to date."), percent=None
                )
        return found

    @cached_property
    def _working(self) -> list[tuple[int | None, str]]:
        """Host and kind of each stage that a host is busy with."""
        active = Attempt.objects.filter(outcome="", stage__status__in=STAGE_ACTIVE)
        return list(active.exclude(stage__kind__in=inline_names()).values_list("host_id", "stage__kind"))

    @cached_property
    def _rooms(self) -> placement.Rooms:
        busy = Counter(host_id for host_id, _kind in self._working)
        return {name: room_of(host, self._environments[name], busy[host.pk]) for name, host in self._hosts.items()}

    def lock(self) -> None:
        """For who is about to lock a pipeline: that comes after the hosts."""
        _ = self._hosts

    def take(self, stage: Stage) -> Host | None:
        """A host with room for the stage, which counts from now on."""
        if is_inline(stage.kind):
            return self._take_inline(stage)
        if stage.kind in set_up_names() and (why := self._keeps_from_set_up(stage.host_id)):
            self.refused.add(_shape(stage))
            self._note(stage, why)
            return None
        ask = self._ask(stage)
        if ask.gpus and not self._leases_known:
            self._look_up_leases()
        decision, self._rooms = placement.place(ask, self._rooms)
        if isinstance(decision, Placed):
            self._working.append((self._hosts[decision.host].pk, stage.kind))
            self.given[stage.pk] = decision.gpus
            return self._hosts[decision.host]
        self.refused.add(_shape(stage))
        self.full |= not (ask.gpus or ask.labels or ask.host)
        self._note(stage, self._told(ask, decision))
        return None

    def like_the_refused(self) -> Q:
        """Stages that could not start either."""
        found = Q()
        for kind, host_id, count, memory, labels in self.refused:
            found |= Q(kind=kind, host_id=host_id, gpus=count, gpu_memory_gib=memory, labels=labels)
        return found

    def _take_inline(self, stage: Stage) -> Host | None:
        """It runs in the worker itself; a host is only its address."""
        for host in self._nearest:
            if stage.host_id in (None, host.pk):
                self.given[stage.pk] = ()
                return host
        self._note(stage, _("no host is enabled"))
        return None

    def _keeps_from_set_up(self, host_id: int | None) -> str:
        """What a set-up of the host waits for: one at a time, whoever asked for it, and none under those who train."""
        there = [kind for host, kind in self._working if host == host_id]
        if any(kind in set_up_names() for kind in there):
            return _("the end of the set-up of its host that is under way")
        if any(needs_training_environment(kind) for kind in there):
            return _("the end of the runs there that use its training environment")
        return ""

    def _ask(self, stage: Stage) -> Ask:
        host = next((host.name for host in self._hosts.values() if host.pk == stage.host_id), "")
        return Ask(
            gpus=stage.gpus,
            memory_gib=stage.gpu_memory_gib,
            labels=frozenset(stage.labels.split(",")) if stage.labels else frozenset(),
            host=host if stage.host_id is None or host else NOWHERE,
            environment=needs_training_environment(stage.kind),
            waited_s=clock.age_s(stage.queued_at) if stage.queued_at is not None else 0.0,
        )

    def _look_up_leases(self) -> None:
        self._leases_known = True
        leased: dict[int, set[int]] = defaultdict(set)
        for host_id, index in GpuLease.objects.filter(released_at=None).values_list("host_id", "index"):
            leased[host_id].add(index)
        self._rooms = {
            name: replace(room, taken=frozenset(leased[self._hosts[name].pk])) for name, room in self._rooms.items()
        }

    def _note(self, stage: Stage, why: str) -> None:
        if stage.waiting_for != why[:500]:
            self.waiting[why[:500]].append(stage.pk)

    def _told(self, ask: Ask, waits: Waits) -> str:
        """In words, for the stage's row."""
        if waits.why is Why.ENVIRONMENT:
            return self._environment_told(self._hosts[waits.host])
        if waits.why is Why.UNREACHABLE:
            return silence(self._hosts[waits.host])
        if waits.why is Why.SLOTS:
            room = self._rooms[waits.host]
            values = {"host": waits.host, "busy": room.busy, "slots": room.slots}
            return _("a free slot on %(host)s (%(busy)s of %(slots)s taken)") % values
        return told(ask, waits)

    def _environment_told(self, host: Host) -> str:
        state = self._environments[host.name]
        done = f" ({state.percent} %)" if state.percent is not None else ""
        return _("the training environment of %(host)s: %(state)s") % {
            "host": host.name,
            "state": f"{state.message}{done}",
        }


def _shape(stage: Stage) -> Shape:
    return (stage.kind, stage.host_id, stage.gpus, stage.gpu_memory_gib, stage.labels)
