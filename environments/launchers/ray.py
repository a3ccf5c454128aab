"""Start a run as a job of a Ray cluster: the runner is its entry point, its files stand in the shared folder."""

import shlex

from environments.launchers.base import Launch
from environments.models import Host
from environments.transports import Transport
from environments.transports.ray import STOP_S, job_name
from environments.transports.ray_jobs import jobs_of
from platform_runtime.runner import IN_RAY


def start(host: Host, launch: Launch, transport: Transport) -> None:
    """The command, with all that is in it, goes into a file of mode 0600; the job says where that is and nothing else.

    Ray chooses the GPUs. A trainer that spreads itself over the cluster asks it for them; any other gets them with its
    entry point, on whichever machine has as many free.
    """
    transport.write(launch.folder.command, launch.command.to_bytes())
    argv = [launch.python, "-P", launch.runner, IN_RAY, launch.folder.path]
    own = {} if launch.uses_ray or not launch.gpus else {"entrypoint_num_gpus": len(launch.gpus)}
    jobs_of(host).submit(
        job_name(launch.folder.path),
        f"exec {shlex.join(argv)}",
        runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": f"{STOP_S:.0f}"}},
        **own,
    )
