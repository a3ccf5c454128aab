"""Start a run as a detached process of a host, over whatever transport reaches it."""

from dataclasses import replace

from environments.launchers.base import Launch
from environments.transports import Transport, TransportError


def start(launch: Launch, transport: Transport) -> None:
    """Hand the command to a runner in the folder and return; the runner outlives us.

    Calling it again for the same folder is harmless: the runner that claims the folder first is the only one
    that starts anything.
    """
    folder, command = launch.folder, launch.command
    # The driver's numbers, which the platform knows, count in the order of the bus; CUDA's own by speed.
    gpus = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, launch.gpus))}
    transport.write(folder.command, replace(command, env={**command.env, **gpus}).to_bytes())
    done = transport.run(
        [launch.python, "-P", launch.runner, folder.path],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        cwd=folder.path,
        timeout_s=20,
    )
    if done.code != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]
        raise TransportError(f"The runner did not start (exit {done.code}): {said}")
