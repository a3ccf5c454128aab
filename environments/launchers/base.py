"""What is started, however a host starts it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from platform_runtime.contract import Command, RunFolder


@dataclass(frozen=True)
class Launch:
    """One attempt on its host. Paths are absolute there; `gpus` are the numbers of those it was given.

    `python` runs the runner of the copy of the runtime in `runtime`. `uses_ray`: on a cluster the command asks Ray for
    its GPUs itself.
    """

    folder: RunFolder
    command: Command
    python: str
    runtime: str
    gpus: Sequence[int] = field(default_factory=tuple)
    uses_ray: bool = False

    @property
    def runner(self) -> str:
        return f"{self.runtime}/platform_runtime/runner.py"
