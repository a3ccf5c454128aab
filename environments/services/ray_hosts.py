"""Take a Ray cluster on as a host: only one whose machines see our folder, with a Python that works there."""

import json
import os
import secrets
import shlex
import time
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from environments.gpus import HostGpu, written
from environments.models import Host
from environments.services.runtime_copy import ensure_runtime
from environments.transports import LocalTransport, TransportError
from environments.transports.ray_jobs import RayJobs, checked, jobs_of
from platform_runtime.shared_folder import ANSWER, NONCE, digest
from platform_site.common import audit, crypto
from platform_site.common.errors import Invalid
from platform_site.common.models import Project, User

PATIENCE_S: Final = 90.0
POLL_S: Final = 0.5
ENROLLED: Final = (
    "slots", "labels", "address", "root", "python", "secret", "facts", "facts_at", "gpus", "unreachable_since",
    "retry_at", "failures",
)  # fmt: skip


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
    existing = Host.objects.filter(name=name).first()
    if existing is not None and existing.kind != Host.Kind.RAY:
        raise Invalid(_("Another host has this name."), {"name": _("taken")})
    host = existing or Host(name=name, kind=Host.Kind.RAY, project=project)
    host.slots, host.labels = slots, labels or []
    fill_in(host, address=address, root=root, python=python, token=token)
    host.clean_fields(exclude=["project"])
    host.facts, host.facts_at = look(host), timezone.now()
    host.unreachable_since = host.retry_at = None
    host.failures = 0
    with transaction.atomic():
        # The look takes a while: what others wrote meanwhile stays.
        now = Host.objects.select_for_update().filter(pk=host.pk).first()
        if now is not None:
            host.gpus, host.gpus_by_hand = now.gpus, now.gpus_by_hand
        if not host.gpus_by_hand:
            host.gpus = written(HostGpu(gpu["index"], gpu["name"]) for gpu in host.facts["gpus"])
        host.save(update_fields=None if now is None else ENROLLED)
        audit.record("host.enrol", user, host, kind=host.kind, address=host.address)
    return Enrolled(host, host.facts["ray"], host.facts["python"])


def fill_in(host: Host, *, address: str, root: str, python: str, token: str | None) -> None:
    """Set where the cluster is and what lets us in. Saves nothing and asks nobody. Raises Invalid, with each field.

    `token` None keeps the one that is there, but for another address: it was not meant for that.
    """
    if token is not None:
        host.secret = crypto.encrypt(token) if token else ""
    elif address.strip().rstrip("/") != host.address:
        host.secret = ""
    fields: dict[str, str] = {}
    try:
        address = checked(address, has_token=bool(host.secret))
    except Invalid as error:
        fields |= {name: " ".join(told) for name, told in error.fields.items()}
    fields |= {
        field: _("An absolute path is needed.")
        for field, path in (("root", root), ("python", python))
        if not os.path.isabs(path) or os.path.normpath(path) != path.rstrip("/") or "\0" in path
    }
    if fields:
        raise Invalid(" ".join(fields.values()), fields)
    host.address, host.root, host.python = address, root.rstrip("/"), python


def look(host: Host) -> dict[str, Any]:
    """What the cluster is, told through the folder by a job of its own: its facts.

    Raises Invalid where the folder or the Python will not do, TransportError and Unreachable.
    """
    jobs = jobs_of(host)
    version = jobs.version()
    told = _through_the_folder(host, jobs)
    name = str(told.get("gpu_name", ""))
    gpus = [{"index": index, "name": name, "memory": 0, "driver": ""} for index in range(int(told.get("gpus", 0)))]
    return {"root": host.root, "ray": version, "python": str(told.get("python", "")), "gpus": gpus}


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
