"""An attempt's output, read from its host a piece at a time."""

import re
from dataclasses import dataclass

from django.utils.translation import gettext as _

from environments.transports import TransportError, for_host
from pipelines.folders import run_folder
from pipelines.models import Attempt, Stage
from pipelines.states import STAGE_TERMINAL
from platform_site.common.errors import Unavailable

MAX_BYTES = 1 << 20
LAST_LINES = 40
# Colours are for terminals, and progress bars rewrite their line: neither is for reading.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class LogPiece:
    """`text` from the asked offset; `next_offset` in bytes; `complete` when nothing will ever follow it."""

    text: str
    next_offset: int
    complete: bool


def read_log(stage: Stage, *, offset: int = 0, limit: int = 64 << 10, attempt: int | None = None) -> LogPiece:
    """The output of a stage's latest attempt that has a folder, or of the one named.

    A negative `offset` counts from the end. Raises Unavailable when the host cannot be read.
    """
    attempts = Attempt.objects.select_related("host").filter(stage=stage, host__isnull=False)
    if attempt is not None:
        attempts = attempts.filter(number=attempt)
    found = attempts.order_by("-number").first()
    ended = stage.status in STAGE_TERMINAL
    if found is None or found.host is None:
        return LogPiece("", 0, ended)
    try:
        transport, path = for_host(found.host), run_folder(found).output_log
        if offset < 0:
            stat = transport.stat(path)
            offset = max(0, (stat.size if stat else 0) + offset)
        data = transport.read(path, offset, min(limit, MAX_BYTES))
    except FileNotFoundError:
        return LogPiece("", 0, ended)
    except TransportError as error:
        raise Unavailable(
            _("The log on %(host)s cannot be read: %(error)s") % {"host": found.host.name, "error": error}
        ) from error
    text, used = _whole_characters(data)
    return LogPiece(text, offset + used, (ended or bool(found.outcome)) and len(data) < limit)


def log_end(stage: Stage) -> str:
    """The last lines of what an ended training said, as they were kept with its result: no host is asked for them."""
    tail = (stage.result or {}).get("logs_tail")
    if not isinstance(tail, str):
        return ""
    lines = _ESCAPES.sub("", tail).rstrip().split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines[-LAST_LINES:])


def _whole_characters(data: bytes) -> tuple[str, int]:
    """The text of `data` up to its last whole character, and the bytes that make it up."""
    for cut in range(min(4, len(data))):
        try:
            return data[: len(data) - cut].decode(), len(data) - cut
        except UnicodeDecodeError:
            continue
    return data.decode(errors="replace"), len(data)
