"""A Ray cluster: its files through the shared folder, which is mounted here too, its processes through the Jobs API."""

import shlex
import time
from collections.abc import Sequence
from typing import Any, Final

from environments.models import Host
from platform_runtime import probe
from platform_runtime.contract import Claim, RunFolder
from platform_runtime.files import load
from platform_site.common.errors import PlatformError

from .errors import TransportError, Unreachable
from .local import LocalTransport
from .ray_jobs import RayJob, RayJobs, jobs_of

STOP_S: Final = 45.0
"""How long Ray waits after its TERM before it kills: longer than any runner needs to end its command and say so."""
KILLED_WITHIN_S: Final = STOP_S + 15
REAPED_WITHIN_S: Final = 40.0
POLL_S: Final = 0.3


def job_name(folder: str) -> str:
    """The submission id of an attempt: always the same, so that it is found again whoever started it."""
    run = RunFolder.at(folder)
    return f"anneal-{run.uuid}-{run.path.rpartition('/')[2]}"


class RayTransport(LocalTransport):
    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def _jobs(self) -> RayJobs:
        try:
            return jobs_of(self._host)
        except PlatformError as error:
            raise Unreachable(error.message) from error

    def probe(self, folders: Sequence[str]) -> list[dict[str, Any]]:
        """A runner lives as long as its job: its process is another machine's, and its number says nothing here.

        Without folders the cluster is asked whether it answers.
        """
        jobs = self._jobs
        if not folders:
            jobs.version()
        found = [jobs.look(job_name(folder)) for folder in folders]
        return [
            {**probe.probe_run(folder), "runner_alive": job is not None and job.alive, "leftovers": 0}
            for folder, job in zip(folders, found, strict=True)
        ]

    def bearers(self) -> dict[str, list[int]]:
        """Ray ends what a job leaves, and `kill` makes sure of it: the processes of its machines are not looked at."""
        return {}

    def stop(self, folder: str) -> str:
        return "signalled" if self._jobs.stop(job_name(folder)) else "not_running"

    def kill(self, folder: str) -> list[int]:
        """Ray's own end of the job first, then a look on its machine for what might be left."""
        jobs, name = self._jobs, job_name(folder)
        job = jobs.look(name)
        if job is None:
            return []
        if job.alive:
            jobs.stop(name)
            job = _ended(jobs, name, KILLED_WITHIN_S)
        if job is not None and job.alive:
            return _runner_of(folder)
        return [] if job is None or self._reaped(jobs, folder, job) else _runner_of(folder)

    def _reaped(self, jobs: RayJobs, folder: str, job: RayJob) -> bool:
        """A job beside it on the same machine, which kills by identity and launch token. Where the machine is gone, so
        is all that ran there."""
        claim = load(Claim, RunFolder.at(folder).claim)
        if claim is None or claim.owner != "runner" or not job.node or job.node not in jobs.nodes():
            return True
        name = f"{job_name(folder)}-reaper-{int(time.time())}"
        reaper = f"{self._runtime(folder)}/platform_runtime/reaper.py"
        argv = [self._host.python, "-P", reaper, "kill", folder]
        jobs.submit(name, f"exec {shlex.join(argv)}", entrypoint_resources={f"node:{job.node}": 0.001})
        ended = _ended(jobs, name, REAPED_WITHIN_S)
        if ended is not None and ended.alive:
            jobs.stop(name)
        return ended is not None and ended.status == "SUCCEEDED"

    def _runtime(self, folder: str) -> str:
        """The newest copy of the runtime on the host: any of them ends a run of any other."""
        runtime = f"{self._host.root}/runtime"
        copies = [name for name in self.listdir(runtime) if self.stat(f"{runtime}/{name}/.complete") is not None]
        if not copies:
            raise TransportError(f"{runtime}: no copy of the runtime is there to end {folder} with")
        return f"{runtime}/{copies[-1]}"


def _ended(jobs: RayJobs, name: str, within_s: float) -> RayJob | None:
    until = time.monotonic() + within_s
    while True:
        found = jobs.look(name)
        if found is None or not found.alive or time.monotonic() > until:
            return found
        time.sleep(POLL_S)


def _runner_of(folder: str) -> list[int]:
    """What stands for the processes that could not be ended."""
    claim = load(Claim, RunFolder.at(folder).claim)
    return [claim.pid or 0] if claim is not None else [0]
