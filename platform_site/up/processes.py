"""Telling processes apart: a pid alone can belong to a stranger by now."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def start_time(pid: int) -> str:
    """When a process started, in the kernel's own count; "" when there is no such process or no way to know."""
    try:
        # The name, in parentheses, can hold anything: the fields are counted behind the last one.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (OSError, IndexError):
        return ""


def is_same(pid: int, started: str) -> bool:
    """Whether the process of that pid is still the one that started then."""
    if not started:  # a system without /proc
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return not Path("/proc/self/stat").exists()
    return start_time(pid) == started


def end(pid: int, started: str, grace_s: float) -> None:
    """TERM, wait, KILL; only while it is the same process. Returns when it is gone."""
    for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        if not is_same(pid, started):
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        until = time.monotonic() + patience
        while is_same(pid, started) and time.monotonic() < until:
            time.sleep(0.02)


def die_with_parent() -> None:
    """In a child before exec: ask the kernel for a TERM when the parent dies, also by kill -9. Linux only."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)
