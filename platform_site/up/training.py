"""Follows the set-up of the training environment, which the supervisor runs beside the platform."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from platform_site.environ import CHECKOUT

from .terminal import Terminal

STATE: Final = CHECKOUT / ".training" / "state.json"
SCRIPT: Final = CHECKOUT / "environments" / "setup_local_env.sh"
POLL_S: Final = 0.5
PATIENCE_S: Final = 60.0
"""How long the set-up may take to say its first word."""


def read() -> dict[str, Any]:
    """The set-up's own account; empty when there is none yet."""
    try:
        saved = json.loads(STATE.read_text())
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def follow(terminal: Terminal, is_setting_up: Callable[[], bool]) -> bool:
    """Show the progress until the environment is ready (True) or its set-up failed (False, and says why).

    `is_setting_up` tells whether the supervisor's set-up process lives; it may not have begun yet.
    """
    if os.environ.get("ANNEAL_TRAINING_PYTHON"):
        return True
    if not SCRIPT.is_file():
        terminal.warn(f"{SCRIPT} is missing: nothing can be trained")
        return False
    announced = False
    silent_since = time.monotonic()
    while True:
        account = read()
        status = account.get("status")
        if status == "ready" and os.access(str(account.get("python")), os.X_OK):
            terminal.close()
            return True
        working = is_setting_up()
        if working:
            silent_since = time.monotonic()
            if not announced:
                terminal.say("Setting up the training environment (first time only; the page is usable meanwhile)")
                announced = True
            if status == "installing":
                percent = account.get("percent")
                terminal.progress(percent if isinstance(percent, int) else None, str(account.get("message", "")))
        elif time.monotonic() - silent_since > (5.0 if announced else PATIENCE_S):
            said = account.get("message") if status == "failed" else "its set-up ended before it was done"
            terminal.warn(f"the training environment is not ready: {said}")
            terminal.warn(f"the log is {account.get('log') or Path('.training') / 'setup.log'}")
            return False
        time.sleep(POLL_S)
