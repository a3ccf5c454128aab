"""A version's file on the host that trains on it, verified before anything is launched."""

import shutil
import tempfile
from pathlib import Path

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from datasets.models import DatasetCopy, DatasetVersion
from environments.models import Host
from environments.transports import Transport, TransportError
from platform_site.common.errors import Invalid

from . import store


def path_on(host: Host, version: DatasetVersion, transport: Transport) -> str:
    """Where the file stands on `host`. On this machine that is the store itself; a Ray cluster gets a copy in the
    folder that it shares with us.

    The content is hashed the first time, and again when the file does not look as it did then. Raises Invalid when
    it is not what was recorded, TransportError when it cannot be copied.
    """
    path = _place(host, version)
    copy = DatasetCopy.objects.filter(version=version, host=host, path=path).first()
    if copy is not None and copy.verified_at is not None and _untouched(copy, transport):
        return path
    verified = store.verify(version)
    if not verified.ok:
        DatasetCopy.objects.filter(version=version, host=host).update(verified_at=None)
        raise Invalid(
            _("Version %(number)d of dataset %(dataset)s is damaged: %(problem)s")
            % {"number": version.number, "dataset": version.dataset.slug, "problem": verified.problem},
            {"dataset": verified.problem},
            code="dataset_damaged",
        )
    if host.kind == Host.Kind.RAY:
        _share(version, path)
    with transaction.atomic():
        DatasetCopy.objects.update_or_create(
            version=version, host=host, defaults={"path": path, "verified_at": timezone.now()}
        )
    return path


def _place(host: Host, version: DatasetVersion) -> str:
    if host.kind == Host.Kind.RAY:
        return f"{host.root}/datasets/{version.sha256[:2]}/{version.sha256}.{version.format}"
    return str(store.path_of(version.sha256, version.format))


def _share(version: DatasetVersion, path: str) -> None:
    """Copy a verified file whole: readers see all of it or nothing."""
    target = Path(path)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as beside:
            copied = Path(beside, target.name)
            shutil.copyfile(store.path_of(version.sha256, version.format), copied)
            copied.chmod(0o600)
            copied.replace(target)
    except OSError as error:
        raise TransportError(f"{path}: {error.strerror or error}") from error


def _untouched(copy: DatasetCopy, transport: Transport) -> bool:
    """Same size, and not written since it was verified."""
    stat = transport.stat(copy.path)
    if stat is None or not stat.is_file or stat.size != copy.version.size or copy.verified_at is None:
        return False
    return stat.mtime_ns <= copy.verified_at.timestamp() * 1e9
