"""Set up the training environment of a host, this machine or one over SSH, by the same script, under its runner."""

import os
from functools import partial
from pathlib import PurePosixPath
from typing import Any, ClassVar, Final

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from environments import training
from environments.messages import send_comparison
from environments.models import Host
from environments.services import hosts
from environments.services.setup_copy import push_scripts, push_wheels
from environments.transports import Transport, Unreachable
from pipelines.folders import run_folder
from pipelines.models import Attempt, Stage
from pipelines.services import find
from platform_runtime.contract import ENV_LAUNCH_TOKEN, Command
from platform_site.common.errors import Invalid, PlatformError
from platform_site.common.models import User
from platform_site.common.queues import MAINTENANCE
from platform_site.common.roles import Role, role_of

from .base import RunnerKind, Verdict
from .logs import tail

PARAMS: Final = frozenset({"host", "packages", "wheelhouse"})
PACKAGES: Final = ("", "cpu", "cuda")
STOP_GRACE_S: Final = 10.0
PLACES: Final = frozenset(
    {"HOME", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
)
"""Variables that say where packages come from, besides those of pip and uv."""


class SetupHost(RunnerKind):
    """`{host, packages?: cpu|cuda, wheelhouse?: bool}` → `{torch, verl, python}`. Without `packages`: what the machine
    has. Repeating it costs seconds where all is there."""

    name: ClassVar[str] = "setup_host"
    queue: ClassVar[str] = MAINTENANCE
    example: ClassVar[str] = "host = gpu-1"
    sets_up_environment: ClassVar[bool] = True

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        found = {
            name: _("setup_host takes %(known)s.") % {"known": ", ".join(sorted(PARAMS))}
            for name in params
            if name not in PARAMS
        }
        if role_of(user) != Role.ADMIN:
            found["host"] = _("Setting up a host is for administrators.")
        if params.get("packages", "") not in PACKAGES:
            found["packages"] = _("cpu or cuda; without it what the machine has.")
        if not isinstance(params.get("wheelhouse", False), bool):
            found["wheelhouse"] = _("true or false.")
        try:
            host = find.host(user, params.get("host"))
        except PlatformError as error:
            return found | {"host": error.message}
        return found | problems_of(host)

    def attach(self, stage: Stage, user: User) -> None:
        """Whoever looks for a set-up of the host under its lock, as `services.setup_host` does, finds this one."""
        if stage.host_id is not None:
            Host.objects.select_for_update().filter(pk=stage.host_id).first()

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        host, folder = attempt.host, run_folder(attempt)
        assert host is not None, "dispatch gives an attempt its host"
        if wrong := problems_of(host):
            raise Invalid(wrong["host"], wrong)
        scripts = str(settings.CHECKOUT_DIR) if host.is_local else push_scripts(host, transport)
        script = f"{scripts}/environments/setup_env.py"
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        if host.is_local:
            env |= _of_this_machine()
        if params.get("wheelhouse"):
            # pip and uv take a path with a space in it for two.
            wheels = PurePosixPath(push_wheels(host, transport)).as_uri()
            env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels, "UV_NO_INDEX": "1", "UV_FIND_LINKS": wheels}
        kind = [f"--{params['packages']}"] if params.get("packages") else []
        return Command(
            argv=[training.any_python(host), "-P", script, "training", "--run", folder.path, *kind],
            env={"HOME": str(host.facts.get("home") or folder.path), **env, ENV_LAUNCH_TOKEN: attempt.launch_token},
            cwd=folder.path,
            launch_token=attempt.launch_token,
            uuid=str(stage.id),
            target_step=None,
            checkpoint_required=False,
            checkpoint_folder=folder.checkpoints,
            stop_grace_s=STOP_GRACE_S,
        )

    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        assert attempt.host is not None, "dispatch gives an attempt its host"
        if signal := exit_info.get("signal"):
            return Verdict(False, _("The set-up was ended by signal %(signal)s.") % {"signal": signal}, retryable=True)
        if exit_info.get("code") != 0:
            lines = tail(run_folder(attempt).output_log, transport).splitlines()
            said = [line for line in lines if line.startswith("The training environment could not be set up")]
            reason = _("The set-up exited with code %(code)s.") % {"code": exit_info.get("code")}
            return Verdict(False, said[-1] if said else reason, retryable=True)
        host = Host.objects.get(pk=attempt.host.pk)
        try:
            hosts.check(host)
        except PlatformError as error:
            raise Unreachable(error.message) from error  # it passes, and the next look judges
        state = training.state(host)
        found = host.facts.get("training") or {}
        return Verdict(state.ready, "" if state.ready else state.message, result=found)

    def settle(self, stage: Stage, attempt: Attempt, verdict: Verdict) -> None:
        """How it stands to what is needed is told anew, whatever came of it."""
        if attempt.host_id is not None:
            transaction.on_commit(partial(send_comparison, attempt.host_id), robust=True)

    def summary(self, result: dict[str, Any]) -> str:
        if not result.get("torch"):
            return ""
        return _("PyTorch %(torch)s, verl %(verl)s") % {"torch": result["torch"], "verl": result.get("verl")}


def problems_of(host: Host | None) -> dict[str, str]:
    """Why the platform does not set it up, by field; empty where it can."""
    if host is None:
        return {"host": _("Name the host to set up.")}
    if host.kind == Host.Kind.RAY:
        return {"host": _("The environment of a Ray cluster is its own: set it up on its machines.")}
    if host.python:
        told = _("Host %(host)s is told to use %(python)s. Empty that field: then an environment is set up for it.")
        return {"host": told % {"host": host.name, "python": host.python}}
    if host.is_local and settings.TRAINING_PYTHON:
        return {"host": _("The platform was told to use a Python of yours here (ANNEAL_TRAINING_PYTHON).")}
    if host.facts_at is None:
        return {"host": _("Host %(host)s was not checked yet. Check it first.") % {"host": host.name}}
    return {}


def _of_this_machine() -> dict[str, str]:
    """Where the platform's own process was told to find packages: bin/up sets this machine up by the same."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_")) or name in PLACES}
