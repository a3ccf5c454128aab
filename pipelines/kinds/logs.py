"""What a run's output tells about its end."""

import re
from typing import Final

from environments.transports import Transport

_RANK: Final = re.compile(r"\A\[rank\d+\]: ")
"""What torch writes before each line of an exception once there is a process group, of one process too
(`_distributed_excepthook` of torch/distributed/distributed_c10d.py)."""


def tail(path: str, transport: Transport, size: int = 4000) -> str:
    """The last bytes of a log; empty when there is none."""
    found = transport.stat(path)
    if found is None or not found.is_file:
        return ""
    return transport.read(path, max(0, found.size - size), size).decode(errors="replace")


def last_error(log: str) -> str:
    """The line that most likely says why: the last one that reads like an exception's."""
    for marked in reversed(log.splitlines()):
        line = _RANK.sub("", marked)
        head = line.split(":", 1)[0].strip()
        if head.endswith(("Error", "Exception", "Interrupt")) and " " not in head:
            return line.strip()[:500]
    return ""
