"""Take a Ray cluster on as a host: only one whose machines see our folder, with a Python that works there."""

import json
import os
import secrets
import shlex
import time
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _

from environments.gpus import HostGpu, written
from environments.models import Host
from environments.services.runtime_copy import ensure_runtime
from environments.transports import LocalTransport, TransportError
from environments.transports.ray_jobs import RayJobs, checked
from platform_runtime.shared_folder import ANSWER, NONCE, digest
from platform_site.common import audit, crypto
from platform_site.common.errors import Invalid
from platform_site.common.models import Project, User

PATIENCE_S: Final = 90.0
POLL_S: Final = 0.5


@dataclass(frozen=True)
class Enrolled:
    host: Host
    ray: str
    python: str


def enrol(
    *,
    name: str,
    address: str,
    token: str,
    root: str,
    python: str,
    slots: int = 1,
    labels: list[str] | None = None,
    project: Project,
    user: User | str,
) -> Enrolled:
    """Add the cluster, or renew what is known of it. Raises Invalid, TransportError and Unreachable; nothing is kept
    then, and the token was sent nowhere if the address is refused.

    `root` is the folder that this machine and all of the cluster's see under the same path; `python` the training
    environment's there.
    """
    address = checked(address, has_token=bool(token))
    _paths(root, python)
    existing = Host.objects.filter(name=name).first()
    if existing is not None and existing.kind != Host.Kind.RAY:
        raise Invalid(_("Another host has this name."), {"name": _("taken")})
    host = existing or Host(name=name, kind=Host.Kind.RAY, project=project)
    host.address, host.root, host.python = address, root.rstrip("/"), python
    host.slots, host.labels = slots, labels or []
    host.secret = crypto.encrypt(token) if token else ""
    host.clean_fields(exclude=["project"])
    jobs = RayJobs(address, token)
    version = jobs.version()
    told = _through_the_folder(host, jobs)
    if not host.gpus_by_hand:
        host.gpus = written(HostGpu(index, str(told.get("gpu_name", ""))) for index in range(int(told.get("gpus", 0))))
    host.unreachable_since = host.retry_at = None
    host.failures = 0
    host.save()
    audit.record("host.enrol", user, host, kind=host.kind, address=address)
    return Enrolled(host, version, str(told.get("python", "")))


def _paths(root: str, python: str) -> None:
    fields = {
        field: _("An absolute path is needed.")
        for field, path in (("root", root), ("python", python))
        if not os.path.isabs(path) or os.path.normpath(path) != path.rstrip("/") or "\0" in path
    }
    if fields:
        raise Invalid(" ".join(f"{field}: {told}" for field, told in fields.items()), fields)


def _through_the_folder(host: Host, jobs: RayJobs) -> dict[str, Any]:
    """What a job answered to a word that it can only have read from the shared folder. Raises Invalid."""
    files = LocalTransport()
    nonce, mark = secrets.token_bytes(32), secrets.token_hex(8)
    folder, name = f"{host.root}/enrol-{mark}", f"anneal-enrol-{mark}"
    runtime = ensure_runtime(host, files)
    argv = [host.python, "-P", f"{runtime}/platform_runtime/shared_folder.py", folder]
    try:
        files.write(f"{folder}/{NONCE}", nonce)
        jobs.submit(name, f"exec {shlex.join(argv)}")
        status = _wait(jobs, name)
        try:
            told = json.loads(files.read(f"{folder}/{ANSWER}"))
        except (OSError, ValueError):
            told = {}
        if not isinstance(told, dict) or told.get("digest") != digest(nonce):
            raise _refused(host, jobs, name, status)
        jobs.forget(name)
        return told
    finally:
        files.remove_tree(folder)


def _refused(host: Host, jobs: RayJobs, name: str, status: str) -> Invalid:
    said = jobs.logs(name).strip().splitlines()[-1:]
    told = _(
        "A job on the cluster could not answer through %(root)s (it ended as %(status)s: %(said)s). That folder has to "
        "be the same here and on the cluster's machines, for the same user, and %(python)s to be a Python that has Ray."
    ) % {"root": host.root, "status": status, "said": said[0] if said else "", "python": host.python}
    return Invalid(told, {"root": told})


def _wait(jobs: RayJobs, name: str) -> str:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = jobs.look(name)
        if found is None:
            raise TransportError(_("The cluster lost the job that was to answer."))
        if not found.alive:
            return found.status
        time.sleep(POLL_S)
    jobs.stop(name)
    return "PENDING"
