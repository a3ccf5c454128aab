"""A version's file on the host that trains on it, verified before anything is launched."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from datasets.models import DatasetCopy, DatasetVersion
from environments.models import Host
from environments.transports import Transport, TransportError, Unfinished
from platform_site.common import clock
from platform_site.common.errors import Invalid

from . import store

PIECE: Final = 4 << 20
SLICE_S: Final = 45.0
"""How long one call sends before it asks to be called again: a worker's thread has other work too."""
LEASE: Final = timedelta(seconds=60)


def path_on(host: Host, version: DatasetVersion, transport: Transport) -> str:
    """Where the file stands on `host`. On this machine that is the store itself; others are sent it.

    The content is hashed the first time, and again when the file does not look as it did then. Raises Invalid when
    it is not what was recorded, Unfinished while it is being sent.
    """
    path = _place(host, version)
    copy, _made = DatasetCopy.objects.get_or_create(version=version, host=host, defaults={"path": path})
    if copy.path == path and _untouched(copy, version, transport):
        return path
    if host.is_local:
        _refuse_damaged(version)
    else:
        with _sending(copy):
            _send(version, path, transport)
    stat = transport.stat(path)
    DatasetCopy.objects.filter(pk=copy.pk).update(
        path=path, verified_at=timezone.now(), mtime_ns=stat.mtime_ns if stat is not None else None
    )
    return path


def _place(host: Host, version: DatasetVersion) -> str:
    if host.is_local:
        return str(store.path_of(version.sha256, version.format))
    return f"{host.root}/datasets/{version.sha256[:2]}/{version.sha256}.{version.format}"


def _untouched(copy: DatasetCopy, version: DatasetVersion, transport: Transport) -> bool:
    """Same size, and not written since it was verified. By the file's own time: no clock is compared with another."""
    if copy.verified_at is None or copy.mtime_ns is None:
        return False
    stat = transport.stat(copy.path)
    return stat is not None and stat.is_file and (stat.size, stat.mtime_ns) == (version.size, copy.mtime_ns)


def _refuse_damaged(version: DatasetVersion) -> None:
    """Looks at the store itself."""
    verified = store.verify(version)
    if not verified.ok:
        DatasetCopy.objects.filter(version=version).update(verified_at=None)
        raise Invalid(
            _("Version %(number)d of dataset %(dataset)s is damaged: %(problem)s")
            % {"number": version.number, "dataset": version.dataset.slug, "problem": verified.problem},
            {"dataset": verified.problem},
            code="dataset_damaged",
        )


@contextmanager
def _sending(copy: DatasetCopy) -> Iterator[None]:
    """One at a time a host and version. Whoever dies while sending is followed after a minute."""
    free = Q(sending_until=None) | Q(sending_until__lt=timezone.now()) | Q(sending_until__gt=clock.out_of_reach(LEASE))
    mine = DatasetCopy.objects.filter(pk=copy.pk)
    if not mine.filter(free).update(sending_until=timezone.now() + LEASE):
        raise Unfinished(_("The dataset is being sent to %(host)s for another run.") % {"host": copy.host.name})
    try:
        yield
    finally:
        mine.update(sending_until=None)


def _send(version: DatasetVersion, path: str, transport: Transport) -> None:
    """Goes on where an earlier call, or another process, came to."""
    if transport.digest(path) == version.sha256:
        return
    until = time.monotonic() + SLICE_S
    offset = min(transport.part_size(path), version.size)
    try:
        with store.path_of(version.sha256, version.format).open("rb") as file:
            file.seek(offset)
            while piece := file.read(PIECE):
                offset = transport.add_part(path, offset, piece)
                if offset < version.size and time.monotonic() > until:
                    percent = 100 * offset // version.size
                    raise Unfinished(_("The dataset is being sent: %(percent)d %%.") % {"percent": percent})
    except FileNotFoundError:
        _refuse_damaged(version)
        raise
    if not transport.end_part(path, version.sha256):
        # Either what lies here is not what it was, or what came earlier of it was another.
        _refuse_damaged(version)
        raise TransportError(_("What arrived is not what was sent: its hash is another. Try again."))
