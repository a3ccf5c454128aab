"""Whether a host can train: the state of its training environment."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils.translation import gettext as _

from environments import verify_env
from environments.models import Host

SETUP: Final = "setup"
"""Below a host's root: the set-up scripts, and in `.training` what they make."""
MADE_PYTHON: Final = f"{SETUP}/.training/venv/bin/python"
"""Below a host's root: the Python of the environment that the platform sets up there."""


@dataclass(frozen=True)
class TrainingState:
    """`status` is ready, installing, failed or missing; `percent` 0-100 while installing, where known."""

    status: str
    message: str
    python: str | None = None
    percent: int | None = None
    log: str = ""

    @property
    def ready(self) -> bool:
        return self.status == "ready"


def state(host: Host) -> TrainingState:
    """Read afresh each time: the set-up runs beside the platform and writes its state file as it goes."""
    if host.kind == Host.Kind.RAY and host.facts_at is not None:  # the cluster's machines have it: the check ran it
        return TrainingState("ready", _("Set by hand."), host.python)
    if not host.is_local:
        return _as_last_seen(host)
    python = host.python or settings.TRAINING_PYTHON
    if python:
        if os.access(python, os.X_OK):
            return TrainingState("ready", _("Set by hand."), python)
        return TrainingState("failed", _("%(path)s is not an executable Python.") % {"path": python})
    return _own_environment(Path(settings.CHECKOUT_DIR) / ".training" / "state.json")


def for_processors_alone(state: TrainingState) -> bool:
    """Whether its torch is known to use no GPU. Of another machine's environment nobody here can tell: False."""
    folder = verify_env.site_packages(Path(state.python)) if state.python else None
    return folder is not None and verify_env.torch_build(folder) == "cpu"


def any_python(host: Host) -> str:
    """A Python of the host that runs what needs the standard library alone, also while nothing is set up yet."""
    if not host.is_local:
        return str(host.facts.get("python_path") or host.python or "python3")
    found = state(host)
    return found.python if found.ready and found.python else sys.executable


def python_of(host: Host) -> str:
    """The training Python of a host: the one that was named, or the one that the platform sets up. Where nobody knows
    the host's root yet, relative to it."""
    if host.is_local:
        return host.python or settings.TRAINING_PYTHON or f"{settings.CHECKOUT_DIR}/.training/venv/bin/python"
    return host.python or os.path.join(host.root, MADE_PYTHON)


def _as_last_seen(host: Host) -> TrainingState:
    """Nobody waits for a host to learn this: what its last check found counts."""
    if host.facts_at is None and host.unreachable_since is not None:
        return TrainingState("missing", _("It could not be checked: the host cannot be used."))
    if host.facts_at is None:
        return TrainingState("missing", _("It was not checked yet: check it first."))
    found = host.facts.get("training") or {}
    if found.get("torch") and found.get("verl"):
        message = _("PyTorch %(torch)s and verl %(verl)s are there.") % {"torch": found["torch"], "verl": found["verl"]}
        return TrainingState("ready", message, python_of(host))
    if host.python:
        return TrainingState("failed", _("%(path)s has no PyTorch and verl installed.") % {"path": host.python})
    return TrainingState("missing", _("There is no training environment yet: set one up."))


def _own_environment(file: Path) -> TrainingState:
    try:
        saved = json.loads(file.read_bytes())
        status, message = str(saved["status"]), str(saved.get("message", ""))
        pid, percent, log = int(saved.get("pid") or 0), saved.get("percent"), str(saved.get("log", ""))
        python = str(saved.get("python") or "") or None
    except FileNotFoundError:
        return TrainingState(
            "missing",
            _("The training environment is not set up. Run bin/up."),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return TrainingState("failed", _("%(path)s cannot be read: %(error)s") % {"path": file, "error": error})
    if status == "ready" and not (python and os.access(python, os.X_OK)):
        return TrainingState("missing", _("The training environment has gone. Run bin/up again."), log=log)
    if status == "installing" and not _alive(pid):
        return TrainingState(
            "failed", _("The set-up of the training environment was interrupted. Run bin/up again."), log=log
        )
    if status == "ready":  # the set-up itself writes English alone
        message = _("PyTorch and verl are installed and were checked.")
    return TrainingState(status, message, python, percent if isinstance(percent, int) else None, log)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
