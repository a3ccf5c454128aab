"""Start a run as a detached process of a host, over whatever transport reaches it."""

from environments.transports import Transport, TransportError
from platform_runtime.contract import Command, RunFolder


def start(transport: Transport, *, python: str, runtime: str, folder: RunFolder, command: Command) -> None:
    """Hand `command` to a runner in `folder` and return; the runner outlives us.

    Calling it again for the same folder is harmless: the runner that claims the folder first is the only one
    that starts anything.
    """
    transport.write(folder.command, command.to_bytes())
    done = transport.run(
        [python, "-P", f"{runtime}/platform_runtime/runner.py", folder.path],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        cwd=folder.path,
        timeout_s=20,
    )
    if done.code != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]
        raise TransportError(f"The runner did not start (exit {done.code}): {said}")
