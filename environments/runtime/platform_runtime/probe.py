"""What an attempt's folder and its processes say, in one look. Stdlib only; also a program.

`python -P probe.py` reads a JSON list of attempt folders from standard input and writes the list of answers.
"""

import json
import os
import sys
import time
from typing import Any

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from platform_runtime import heartbeat, processes
from platform_runtime.contract import Claim, Command, ExitInfo, ProcessInfo, RunFolder, StatusFile
from platform_runtime.files import free_bytes, load
from platform_runtime.processes import Identity, belonging


def runner_identity(claim: Claim | None) -> Identity | None:
    if claim is None or claim.owner != "runner":
        return None
    if claim.pid is None or claim.start_time is None or claim.boot_id is None:
        return None
    return Identity(claim.pid, claim.start_time, claim.boot_id)


def child_identity(process: ProcessInfo | None) -> Identity | None:
    if process is None:
        return None
    return Identity(process.child_pid, process.child_start_time, process.boot_id)


def launch_token(folder: RunFolder, process: ProcessInfo | None) -> str:
    """The token that the run's processes carry; empty when the folder does not say."""
    if process is not None:
        return process.launch_token
    command = load(Command, folder.command)
    return command.launch_token if command is not None else ""


def probe_run(folder: str) -> dict[str, Any]:
    """Claim, process, exit, life, sizes. `leftovers` counts what a dead runner left running.

    Of a living run: `elapsed_s` since it began, without the time that the machine was suspended, None when it does
    not say; `frozen_s` for how long the runner or its command has been stopped by a signal, 0 when neither is.

    Life is looked at before exit.json is read: a runner that ends in between has written it by then, so "dead
    and no exit" is never said of a run that ended well.
    """
    run = RunFolder.at(folder)
    claim = load(Claim, run.claim)
    process = load(ProcessInfo, run.process)
    runner, child = runner_identity(claim), child_identity(process)
    runner_alive = runner is not None and runner.alive
    child_alive = child is not None and child.alive
    status = load(StatusFile, run.status)
    ended = load(ExitInfo, run.exit)
    if process is None and (ended is not None or not runner_alive):
        process = load(ProcessInfo, run.process)
    leftovers = 0
    if claim is not None and claim.owner == "runner" and not runner_alive and ended is None:
        known = [child_identity(process)] if process is not None else []
        leftovers = len(belonging(launch_token(run, process), [one for one in known if one is not None]))
    metrics_size, metrics_mtime = _size(run.metrics)
    log_size, _ = _size(run.output_log)
    return {
        "exists": os.path.isdir(run.path),
        "claim": claim.to_json() if claim is not None else None,
        "process": process.to_json() if process is not None else None,
        "exit": ended.to_json() if ended is not None else None,
        "runner_alive": runner_alive,
        "child_alive": child_alive,
        "leftovers": leftovers,
        "elapsed_s": _elapsed_s(run) if runner_alive else None,
        "frozen_s": _frozen_s(run, runner, child) if runner_alive and runner is not None else 0.0,
        "disk_free": free_bytes(run.path),
        "metrics_size": metrics_size,
        "metrics_mtime": metrics_mtime,
        "log_size": log_size,
        "status": status.to_json() if status is not None else None,
        "now": time.time(),
    }


def _elapsed_s(run: RunFolder) -> float | None:
    beat = heartbeat.read(run.heartbeat)
    return None if beat is None else time.monotonic() - beat.began


def _frozen_s(run: RunFolder, runner: Identity, child: Identity | None) -> float:
    """A runner that never beat counts from its own start: no sign of life is no reason to wait for ever."""
    found = [processes.look(one.pid) for one in (runner, child) if one is not None and one.alive]
    if not any(seen is not None and seen.stopped for seen in found):
        return 0.0
    beat = heartbeat.read(run.heartbeat)
    if beat is not None:
        return time.monotonic() - beat.last
    return time.clock_gettime(time.CLOCK_BOOTTIME) - runner.start_time / os.sysconf("SC_CLK_TCK")


def _size(path: str) -> tuple[int | None, float | None]:
    try:
        found = os.stat(path)
    except OSError:
        return None, None
    return found.st_size, found.st_mtime


def main() -> int:
    json.dump([probe_run(folder) for folder in json.load(sys.stdin)], sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
