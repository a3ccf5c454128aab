"""Which host and which of its GPUs a stage is given, or why it waits. Pure.

Asks are judged one after the other: by the priority of their queue, their own, and their age. Each is given the host
that it fills best. One that finds too few GPUs free is passed by smaller ones for `PATIENCE_S` at most: from then on
the GPUs that come free on the host nearest to its needs are kept for it, and nobody who comes after it gets them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

PATIENCE_S: Final = 300.0
"""How long an ask for GPUs lets smaller ones behind it pass."""
SHORT_BY: Final = 0.065
"""Cards have a little less than they are called by: one "with 24 GB" 22.5 to 24 GiB, one "with 80 GB" 79.6 GiB."""


class Why(IntEnum):
    """What an ask waits for, the farthest from a start first."""

    NO_HOST = 0
    LABELS = 1
    NO_GPUS = 2
    TOO_FEW = 3
    UNREACHABLE = 4
    ENVIRONMENT = 5
    NO_CUDA = 6
    GPUS_BUSY = 7
    GPUS_KEPT = 8
    SLOTS = 9


@dataclass(frozen=True)
class Gpu:
    """`index` as the driver counts, in the order of the bus; `memory_mib` 0 where nobody knows it."""

    index: int
    memory_mib: int = 0
    name: str = ""


@dataclass(frozen=True)
class Ask:
    """What one stage needs. `host` names the only one that will do; `waited_s` since it was queued.

    `memory_gib` is of each GPU, 0 for any. `environment`: it needs torch and verl.
    """

    gpus: int = 0
    memory_gib: float = 0.0
    labels: frozenset[str] = frozenset()
    host: str = ""
    environment: bool = False
    waited_s: float = 0.0


@dataclass(frozen=True)
class Room:
    """A host as it stands: `taken` GPUs are leased, `kept` ones are for an ask that has waited longer.

    `ready`: torch and verl are there; `cuda`: they are not known to be for processors alone.
    """

    name: str
    slots: int
    busy: int = 0
    gpus: tuple[Gpu, ...] = ()
    taken: frozenset[int] = frozenset()
    kept: frozenset[int] = frozenset()
    labels: frozenset[str] = frozenset()
    reachable: bool = True
    ready: bool = True
    cuda: bool = True

    def suitable(self, ask: Ask) -> tuple[Gpu, ...]:
        """Those large enough, the smallest first, so that large ones stay for who needs them."""
        least = ask.memory_gib * 1024 * (1 - SHORT_BY)
        return tuple(sorted((gpu for gpu in self.gpus if gpu.memory_mib >= least), key=_size))

    def unleased(self, ask: Ask) -> tuple[Gpu, ...]:
        return tuple(gpu for gpu in self.suitable(ask) if gpu.index not in self.taken)

    def free(self, ask: Ask) -> tuple[Gpu, ...]:
        return tuple(gpu for gpu in self.unleased(ask) if gpu.index not in self.kept)


@dataclass(frozen=True)
class Placed:
    host: str
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Waits:
    """`have`: GPUs that would do and that `host` has (TOO_FEW), or has free (GPUS_BUSY, GPUS_KEPT)."""

    why: Why
    host: str = ""
    have: int = 0


Rooms = Mapping[str, Room]


def place(ask: Ask, rooms: Rooms) -> tuple[Placed | Waits, Rooms]:
    """The decision, and the rooms as they are after it."""
    considered = [room for name, room in rooms.items() if ask.host in ("", name)]
    refusals = {room.name: _refusal(ask, room) for room in considered}
    fitting = [room for room in considered if refusals[room.name] is None]
    if fitting:
        chosen = min(fitting, key=lambda room: _left_over(ask, room))
        given = tuple(sorted(gpu.index for gpu in chosen.free(ask)[: ask.gpus]))
        filled = replace(chosen, busy=chosen.busy + 1, taken=chosen.taken | set(given))
        return Placed(chosen.name, given), {**rooms, chosen.name: filled}
    waits = max((told for told in refusals.values() if told is not None), key=_nearness, default=Waits(Why.NO_HOST))
    return waits, _kept(ask, considered, rooms)


def place_all(asks: Iterable[Ask], rooms: Rooms) -> tuple[list[Placed | Waits], Rooms]:
    """Each in its turn, the highest rank first."""
    decisions: list[Placed | Waits] = []
    for ask in asks:
        decision, rooms = place(ask, rooms)
        decisions.append(decision)
    return decisions, rooms


def _refusal(ask: Ask, room: Room) -> Waits | None:
    """Why the ask cannot start there now; None when it can."""
    suitable = len(room.suitable(ask))
    free, unleased = len(room.free(ask)), len(room.unleased(ask))
    if not ask.labels <= room.labels:
        return Waits(Why.LABELS, room.name)
    if ask.gpus and not room.gpus:
        return Waits(Why.NO_GPUS, room.name)
    if suitable < ask.gpus:
        return Waits(Why.TOO_FEW, room.name, suitable)
    if not room.reachable:
        return Waits(Why.UNREACHABLE, room.name)
    if ask.environment and not room.ready:
        return Waits(Why.ENVIRONMENT, room.name)
    if ask.gpus and not room.cuda:
        return Waits(Why.NO_CUDA, room.name)
    if unleased < ask.gpus:
        return Waits(Why.GPUS_BUSY, room.name, unleased)
    if free < ask.gpus:
        return Waits(Why.GPUS_KEPT, room.name, unleased)
    if room.busy >= room.slots:
        return Waits(Why.SLOTS, room.name)
    return None


def _kept(ask: Ask, considered: Iterable[Room], rooms: Rooms) -> Rooms:
    """With the GPUs of the nearest host set aside, where the ask has waited long enough for that."""
    near = [room for room in considered if _only_a_matter_of_time(ask, room)]
    if not ask.gpus or ask.waited_s < PATIENCE_S or not near:
        return rooms
    nearest = max(near, key=lambda room: len(room.free(ask)))
    free = nearest.free(ask)
    # Where there are enough, it waits for a slot alone, and needs no more of them.
    wanted = free[: ask.gpus] if len(free) >= ask.gpus else free
    kept = nearest.kept | {gpu.index for gpu in wanted}
    return {**rooms, nearest.name: replace(nearest, kept=kept)}


def _only_a_matter_of_time(ask: Ask, room: Room) -> bool:
    refusal = _refusal(ask, room)
    return refusal is not None and refusal.why in (Why.GPUS_BUSY, Why.GPUS_KEPT, Why.SLOTS)


def _left_over(ask: Ask, room: Room) -> tuple[int, int, str]:
    """Small for a host that the ask fills well. What needs no GPU leaves the hosts that have some to others."""
    return (len(room.free(ask)) - ask.gpus, len(room.gpus), room.name)


def _nearness(waits: Waits) -> tuple[int, int]:
    return (waits.why, waits.have)


def _size(gpu: Gpu) -> tuple[int, int]:
    return (gpu.memory_mib, gpu.index)
