"""Follows the files of running local runs, and asks for a look at a run the moment it wrote something."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings
from watchfiles import Change, watch

from pipelines.tasks import nudge
from platform_site.common.db import released_connections

log = logging.getLogger(__name__)

UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TELLING: Final = re.compile(
    rf"/({UUID})/attempt-\d+/(?:claim|process\.json|exit\.json|metrics/[^/]+_(?:metrics\.jsonl|status\.json))\Z"
)
"""The files that say something new about a run. Logs, checkpoints and temporary files do not wake anybody."""
COALESCE_S: Final = 0.05
STEP_MS: Final = 10
"""How often the watching library looks at its list of changes: a write is seen after one or two steps."""
RETRY_S: Final = 30
MAX_RUNS: Final = 200
"""How many runs one nudge names; the periodic tick sees to the rest."""


def run_of(path: str) -> str | None:
    """The uuid of the run that a telling file belongs to, None for every other file."""
    match = TELLING.search(path)
    return match.group(1) if match else None


def changed_runs(root: Path, stopping: threading.Event) -> Iterator[list[str]]:
    """The runs that wrote since the last answer. The first write answers at once, further ones every 50 ms."""
    changes = watch(
        root,
        watch_filter=lambda change, path: change != Change.deleted and run_of(path) is not None,
        debounce=int(COALESCE_S * 1000),
        step=STEP_MS,
        recursive=True,
        raise_interrupt=False,
        stop_event=stopping,
        ignore_permission_denied=True,
    )
    for batch in changes:
        runs = sorted({found for _, path in batch if (found := run_of(path))})
        if runs:
            yield runs[:MAX_RUNS]
            time.sleep(COALESCE_S)


def run(stopping: threading.Event) -> None:
    """Watch until `stopping`. A watcher that fails starts again: the tick is the safety net meanwhile."""
    root = Path(settings.DATA_DIR) / "runs"
    while not stopping.is_set():
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for runs in changed_runs(root, stopping):
                with released_connections():
                    nudge(runs)
        except Exception:  # too many watches, a folder that vanished: whatever it was
            log.exception("watching failed; trying again")
            stopping.wait(RETRY_S)
