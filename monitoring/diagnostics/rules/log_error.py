"""What the run's output says went wrong, with the lines that say it."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from monitoring.diagnostics.core import Advice, Mark, Point, Rule, Severity, gettext_noop

_MOST_LINES: Final = 12
_LONGEST: Final = 300
_PATTERNS: Final = (
    ("out_of_memory", re.compile(r"CUDA out of memory|torch\.OutOfMemoryError|\bOutOfMemoryError\b")),
    ("nccl", re.compile(r"\bNCCL (?:error|failure|timeout)|ncclSystemError|ncclInternalError|ncclUnhandledCudaError"
                        r"|ProcessGroupNCCL.*(?:timed out|timeout|abort)", re.IGNORECASE)),
    ("killed", re.compile(r"^\s*Killed\s*$|Out of memory: Killed process|oom-kill|ActorDiedError|SIGKILL")),
    ("traceback", re.compile(r"Traceback \(most recent call last\)")),
)  # fmt: skip
"""The most telling first."""


class LogError(Rule):
    """Reads no metric: `scan` looks at the end of the output once the run has failed or stands still."""

    name: ClassVar = "log_error"
    title: ClassVar = gettext_noop("An error in the log")
    why: ClassVar = gettext_noop("The trainer said itself what went wrong.")
    messages: ClassVar = {
        "out_of_memory": gettext_noop("The GPU ran out of memory."),
        "nccl": gettext_noop("The processes of the run lost each other (NCCL)."),
        "killed": gettext_noop("A process of the run was killed: the machine may have run out of memory."),
        "traceback": gettext_noop("The trainer ended with an exception: %(said)s"),
    }
    advice: ClassVar = (
        Advice(gettext_noop("Out of memory: train on fewer rows at a time."), "micro_batch", times=0.5),
        Advice(gettext_noop("The lines are the end of the log: read on above them.")),
    )
    limits: ClassVar = {}

    def begin(self) -> None:
        return None

    def read(self, state: None, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[None, list[Mark]]:
        return None, []

    def scan(self, text: str, step: int) -> Mark | None:
        """What the end of an output tells; None where it tells of no error. `step` is the last that was logged."""
        lines = [line.rstrip()[:_LONGEST] for line in text.splitlines()]
        for code, pattern in _PATTERNS:
            at = next((i for i in range(len(lines) - 1, -1, -1) if pattern.search(lines[i])), None)
            if at is None:
                continue
            shown = lines[at : at + _MOST_LINES]
            if code == "traceback" and len(lines) - at > _MOST_LINES:
                # What was raised stands at the end.
                shown = [lines[at], "…", *lines[at + 1 :][-_MOST_LINES:]]
            said = next(
                (
                    line
                    for line in reversed(lines[at:])
                    if re.match(r"(?:\[rank\d+\]: )?[\w.]+(?:Error|Exception|Interrupt)\b", line)
                ),
                "",
            )
            return Mark(step, Severity.ERROR, said, None, code, {"lines": shown, "said": said})
        return None


RULE: Final = LogError()
