"""End a run: ask its runner, or kill what is there. Stdlib only.

Also a program: `python -P reaper.py stop|kill FOLDER` writes the answer as JSON.
"""

import json
import os
import signal
import sys

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from platform_runtime.contract import Claim, ProcessInfo, RunFolder
from platform_runtime.files import load
from platform_runtime.probe import child_identity, launch_token, runner_identity
from platform_runtime.processes import Identity, belonging, end, send


def stop(folder: str) -> str:
    """Ask the runner to end its command; it does the rest. "signalled", or "not_running": there is none."""
    runner = runner_identity(load(Claim, RunFolder.at(folder).claim))
    if runner is not None and send(runner, signal.SIGTERM):
        return "signalled"
    return "not_running"


def kill(folder: str) -> list[int]:
    """Kill the runner, its command, everything below them and whatever carries the launch token.

    Answers the process ids that are still there after ten seconds: [] is the proof that nothing is. Only for
    a run whose end its runner cannot be trusted with: there will be no exit.json.
    """
    run = RunFolder.at(folder)

    def find() -> set[Identity]:
        # Read each time: a runner that had claimed but not yet spawned may have done so since.
        claim, process = load(Claim, run.claim), load(ProcessInfo, run.process)
        known = [runner_identity(claim), child_identity(process)]
        return belonging(launch_token(run, process), [one for one in known if one is not None])

    return sorted(one.pid for one in end(find))


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("stop", "kill"):
        sys.stderr.write("usage: reaper.py stop|kill FOLDER\n")
        return 2
    what, folder = arguments
    answer: str | list[int] = stop(folder) if what == "stop" else kill(folder)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if isinstance(answer, list) and answer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
