"""Log records as one line of JSON each: `at level process logger message`, what the caller added, the traceback."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final

STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest came by `extra=`."""


def process_name() -> str:
    """What this process is: the supervisor says so, or the management command's name does."""
    return os.environ.get("ANNEAL_PROCESS") or (sys.argv[1] if len(sys.argv) > 1 else "python")


class WithTraceback(logging.Filter):
    """Lets through what went wrong, and not that an answer had a status of 500 or more: the request log says so."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


class JsonLine(logging.Formatter):
    """Keeps a record on one line whatever its text holds, so that a log can neither be split nor forged."""

    def __init__(self) -> None:
        super().__init__()
        self._process = process_name()

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in vars(record).items():
            if key not in STANDARD and key not in line and key not in ("request", "status_code"):
                line[key] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
