"""Where the threads of a run stand: what to look at when a trainer lives and does nothing. Linux, stdlib only.

`python -P -m platform_runtime.stacks FOLDER` on the host of a run: asks py-spy where it is installed, else the
processes themselves, which write when they are sent SIGUSR1 (`listen`). It ends up in `stacks.txt` in the attempt's
folder, and the end of it on the standard output, with those that cannot answer as a signal has stopped them.
"""

import contextlib
import faulthandler
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

from platform_runtime import processes
from platform_runtime.contract import ENV_RUN_FOLDER, ProcessInfo, RunFolder
from platform_runtime.message import ContractError

NAME: Final = "stacks.txt"
SIGNAL: Final = signal.SIGUSR1
MOST_PROCESSES: Final = 8
WAIT_S: Final = 3.0
SPY_S: Final = 20.0
"""For all of them together."""
TOLD: Final = 20_000
"""Bytes of the end that are printed."""


def listen(environment: Mapping[str, str] = os.environ) -> bool:
    """Have this process write its stacks when it is asked to. False outside a run, or where the signal is taken."""
    folder = environment.get(ENV_RUN_FOLDER)
    if not folder or signal.getsignal(SIGNAL) is not signal.SIG_DFL:
        return False
    try:
        # Never closed: faulthandler writes to it whenever the signal comes.
        file = open(os.path.join(folder, NAME), "a", encoding="utf-8")  # noqa: SIM115
    except OSError:
        return False
    faulthandler.register(SIGNAL, file=file, all_threads=True)
    return True


def dump(folder: str) -> str:
    """The stacks of a run's processes; a sentence instead where none can be had."""
    run = RunFolder.at(folder)
    try:
        with open(run.process, "rb") as file:
            info = ProcessInfo.from_bytes(file.read(65_536))
    except (OSError, ContractError) as error:
        return f"no process is known: {error}"
    child = processes.Identity(info.child_pid, info.child_start_time, info.boot_id)
    if not child.alive:
        return "the trainer is gone"
    path = os.path.join(run.path, NAME)
    before = _size(path)
    everyone = _family(child.pid)
    until = time.monotonic() + SPY_S
    asked = [one for one in everyone if _asked(one, path, until)]
    end = time.monotonic() + WAIT_S
    while asked and time.monotonic() < end and _size(path) == before:
        time.sleep(0.05)
    time.sleep(0.2 if asked else 0)
    said = ""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(before, _size(path) - TOLD))
        said = file.read(TOLD).decode(errors="replace")
    halted = "".join(_halted(one.pid) for one in everyone if one.stopped)
    if said or halted:
        return said + halted
    return "no process answered in time" if asked else "no process of the run listens, and py-spy is not installed"


def _halted(pid: int) -> str:
    name = "?"
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        name = file.read().strip()
    return f"process {pid} ({name}) was stopped by a signal, such as SIGSTOP; kill -CONT {pid} lets it go on\n"


def _asked(process: processes.Seen, path: str, until: float) -> bool:
    """Have a process tell its stacks: by py-spy, else by itself. Only who listens is asked: others would end."""
    pid = process.pid
    spy = shutil.which("py-spy")
    if spy is not None and _spied(spy, process, path, until):
        return True
    if process.stopped or not _listens(pid):
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, SIGNAL)
        return True
    return False


def _spied(spy: str, process: processes.Seen, path: str, until: float) -> bool:
    argv = [spy, "dump", "--pid", str(process.pid)]
    if process.stopped:
        argv.append("--nonblocking")  # it stands still as it is, and would not be seen to stop
    left_s = max(0.0, until - time.monotonic())
    try:
        seen = subprocess.run(argv, capture_output=True, timeout=left_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if seen.returncode != 0:
        return False
    with open(path, "ab") as file:
        file.write(seen.stdout)
    return True


def _family(pid: int) -> list[processes.Seen]:
    """A process and what descends from it."""
    everyone = processes.everyone()
    found = [pid]
    for known in found:
        found += [one.pid for one in everyone.values() if one.parent == known and one.pid not in found]
    return [everyone[one] for one in found if one in everyone][:MOST_PROCESSES]


def _listens(pid: int) -> bool:
    """Whether it has a handler for the signal, as /proc shows."""
    with contextlib.suppress(OSError, ValueError, StopIteration), open(f"/proc/{pid}/status", encoding="ascii") as file:
        caught = next(line for line in file if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (SIGNAL - 1) & 1)
    return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


if __name__ == "__main__":
    sys.stdout.write(dump(sys.argv[1]))
