"""Processes by identity, never by number alone: pid, start time and boot id. Linux, stdlib only."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from platform_runtime.contract import ENV_LAUNCH_TOKEN

DEAD_STATES = frozenset("ZXx")


@dataclass(frozen=True)
class Identity:
    """One process since this boot. `start_time` is in clock ticks since boot."""

    pid: int
    start_time: int
    boot_id: str

    @property
    def alive(self) -> bool:
        seen = look(self.pid)
        return seen is not None and seen.start_time == self.start_time and boot_id() == self.boot_id


@dataclass(frozen=True)
class Seen:
    """A living process as /proc shows it; zombies do not count. `stopped`: by a signal, until another continues it."""

    pid: int
    parent: int
    session: int
    start_time: int
    stopped: bool


@cache
def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def look(pid: int) -> Seen | None:
    """The living process with that number, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (OSError, ValueError):
        return None
    # The second field is the name in brackets, and a name may hold anything, brackets and spaces too.
    fields = stat[stat.rfind(b")") + 2 :].split()
    state = fields[0].decode("ascii", "replace") if fields else ""
    if len(fields) < 20 or state in DEAD_STATES:
        return None
    return Seen(pid, int(fields[1]), int(fields[3]), int(fields[19]), stopped=state == "T")


def myself() -> Identity:
    seen = look(os.getpid())
    if seen is None:
        raise OSError("/proc does not show this process")
    return Identity(seen.pid, seen.start_time, boot_id())


def everyone() -> dict[int, Seen]:
    found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {seen.pid: seen for seen in found if seen is not None}


def carries(pid: int, token: str) -> bool:
    """Whether the environment a process was started with holds the launch token.

    False also for a process of somebody else, whose environment we may not read.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        return False
    return f"{ENV_LAUNCH_TOKEN}={token}".encode() in environment.split(b"\0")


def bearers() -> dict[str, list[int]]:
    """Launch token -> the living processes that carry it, of all whose environment we may read."""
    found: dict[str, list[int]] = {}
    name = f"{ENV_LAUNCH_TOKEN}=".encode()
    for pid in everyone():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue
        for entry in environment.split(b"\0"):
            if entry.startswith(name):
                found.setdefault(entry[len(name) :].decode("ascii", "replace"), []).append(pid)
    return found


def family(table: Mapping[int, Seen], roots: Iterable[int]) -> set[int]:
    """`roots` and everything below them."""
    children: dict[int, list[int]] = {}
    for seen in table.values():
        children.setdefault(seen.parent, []).append(seen.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found


def belonging(token: str, roots: Iterable[Identity] = ()) -> set[Identity]:
    """The living `roots`, whatever carries the token, who is left in a root's session, and everything below these,
    except this process.

    All ways are needed: a daemon leaves its group and its parent but keeps the token; a process that set its own
    title loses the token but keeps its parent; and when that parent dies first, the session is what it still has.
    """
    table = everyone()
    here = boot_id()
    starts = {root.pid: root.start_time for root in roots if root.boot_id == here}
    known = {pid for pid, start_time in starts.items() if pid in table and table[pid].start_time == start_time}
    if token:
        known |= {pid for pid in table if carries(pid, token)}
    # The number of a session is nobody else's as long as one of ours is in it; without such a proof it may be.
    sessions = {table[pid].session for pid in known} & starts.keys()
    known |= {pid for pid in table if table[pid].session in sessions}
    known.discard(os.getpid())
    members = family(table, known) - {os.getpid()}
    return {Identity(pid, table[pid].start_time, here) for pid in members if pid in table}


def descendants() -> set[Identity]:
    """Everything below this process."""
    table = everyone()
    here = boot_id()
    below = family(table, [os.getpid()]) - {os.getpid()}
    return {Identity(pid, table[pid].start_time, here) for pid in below if pid in table}


def send(target: Identity, number: signal.Signals) -> bool:
    """Signal that very process, never one that got its number since. False: it is gone, or not ours."""
    try:
        handle = os.pidfd_open(target.pid)
    except ProcessLookupError:
        return False
    except OSError:
        # A kernel or a sandbox without pidfd: a small window stays between looking and signalling.
        return _send_by_number(target, number)
    try:
        if not target.alive:
            return False
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True


def _send_by_number(target: Identity, number: signal.Signals) -> bool:
    if not target.alive:
        return False
    try:
        os.kill(target.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def end(find: Callable[[], set[Identity]], *, patience_s: float = 10) -> set[Identity]:
    """Kill what `find` finds, until it finds nothing. Answers those that live after `patience_s` seconds.

    `find` is asked again after each round, since what dies may have had children in the meantime. Everything
    is stopped before anything is killed: a stopped process starts no other, and nobody's parent goes missing
    before its children are known.
    """
    until = time.monotonic() + patience_s
    met: set[Identity] = set()
    while True:
        while fresh := find() - met:
            for target in fresh:
                send(target, signal.SIGSTOP)
            met |= fresh
        for target in met:
            send(target, signal.SIGKILL)
        met = {target for target in met if target.alive}
        if not met and not find():
            return set()
        if time.monotonic() > until:
            return met | find()
        with contextlib.suppress(InterruptedError):
            time.sleep(0.02)
