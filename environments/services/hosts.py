"""Hosts: add, change, enrol, check, remove. Nothing secret comes out of here."""

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from environments import training
from environments.gpus import HostGpu
from environments.messages import announce, send_comparison
from environments.models import Host
from environments.services import gpus, ray_hosts, reach
from environments.services.host_fields import FIELDS, apply, given
from environments.transports import TransportError, Unreachable, for_host
from environments.transports.connection import fingerprint, forget, greeted, key_line
from platform_site.common import audit, clock
from platform_site.common.errors import Conflict, Invalid, NotFound, PlatformError, Unavailable
from platform_site.common.models import AuditEvent, Project, User

CHECK_TERM: Final = timedelta(seconds=240)
"""A check by a worker that was not over by then is none any more."""
PLACE: Final = ("address", "port", "user", "root", "python")
"""Another machine, account, folder or Python than the one that was checked is another environment."""


@dataclass(frozen=True)
class HostKey:
    """What a host showed, to be compared by a person with what the host itself says (`ssh-keygen -lf`).

    `enrolled`: it is the one that is pinned; `changed`: another one is.
    """

    fingerprint: str
    kind: str
    enrolled: bool
    changed: bool


def create(user: User, project: Project, name: str, fields: dict[str, Any], kind: Host.Kind = Host.Kind.SSH) -> Host:
    """A new host; nobody is asked yet. One over SSH has its key still to be enrolled, a Ray cluster is to be checked.

    Raises Invalid with all that is wrong, Conflict.
    """
    host = Host(project=project, name=name, kind=kind)
    apply(host, fields)
    try:
        with transaction.atomic():
            host.save()
            audit.record("host.create", user, host, name=host.name, address=host.address, login=host.user)
            announce(host)
    except IntegrityError:
        told = _("There is a host of this name already.")
        raise Conflict(told, {"name": told}) from None
    return host


def update(user: User, host: Host, fields: dict[str, Any], *, revision: int | None = None) -> Host:
    """Change some fields. Another address or port forgets the host key, and these or another user the credentials:
    what was meant for one machine is never sent to another. Where another place than the one that was checked comes of
    it, it is checked anew. Raises Invalid, NotFound, and Conflict when it is no longer at `revision`.

    Others write to the row as well, people and the observer: it is read anew, and only what changed is written.
    """
    with transaction.atomic():
        try:
            host.refresh_from_db(from_queryset=Host.objects.select_for_update())
        except Host.DoesNotExist:
            raise NotFound(_("There is no such host.")) from None
        if revision is not None:
            refuse_stale(host, revision)
        stood = _columns(host)
        before = (host.address, host.port, host.user)
        apply(host, fields)
        if host.root != stood["root"] and stood["root"]:
            _refuse_under_way(host, str(stood["root"]))
        if before[:2] != (host.address, host.port):
            host.host_key = ""
        if host.kind == Host.Kind.SSH and before != (host.address, host.port, host.user) and not given(fields):
            host.secret = ""
        if place_of(host) != {name: stood[name] for name in PLACE}:
            _is_unchecked(host)
        host.retry_at = None
        host.revision += 1
        changed = [name for name, value in _columns(host).items() if value != stood[name]]
        host.save(update_fields=changed)
        by_hand = sorted(FIELDS & set(changed)) + ["credentials"] * ("secret" in changed)
        audit.record("host.update", user, host, name=host.name, changed=by_hand, revision=host.revision)
        announce(host)
    return host


def _refuse_under_way(host: Host, root: str) -> None:
    """The files of what runs there stand below the folder that is to be changed: out of it nobody could follow, nor
    end, them. Raises Conflict."""
    live = host.attempts.filter(Q(outcome="") | Q(end_owed=True)).count()
    if live:
        told = _("%(count)s runs on this host are not over: their files stand below %(root)s. Wait, or cancel them.")
        told %= {"count": live, "root": root}
        raise Conflict(told, {"root": told})


def place_of(host: Host) -> dict[str, Any]:
    """What a check is about. Whoever keeps what one found filters by it: the host may have been changed meanwhile."""
    return {name: getattr(host, name) for name in PLACE}


def begin_check(host: Host) -> None:
    """Have it checked, and its environment compared, by a worker; its row says since when. Asked twice it is one.

    Nobody is asked here: a host that keeps silent holds up no request. Raises Conflict where one over SSH has no
    enrolled key.
    """
    if host.kind == Host.Kind.SSH and not host.host_key:
        raise Conflict(_("The host key of %(host)s is not enrolled yet: enrol it first.") % {"host": host.name})
    now, again = timezone.now(), timezone.now() - CHECK_TERM
    idle = Q(checking_since=None) | Q(checking_since__lt=again) | Q(checking_since__gt=clock.out_of_reach(CHECK_TERM))
    with transaction.atomic():
        if Host.objects.filter(idle, pk=host.pk).update(checking_since=now):
            is_away = host.unreachable_since is not None
            transaction.on_commit(partial(send_comparison, host.pk, is_away=is_away), robust=True)
            announce(host)


def is_being_checked(host: Host) -> bool:
    since = host.checking_since
    return since is not None and not clock.is_over(since + CHECK_TERM, CHECK_TERM)


def _is_unchecked(host: Host) -> None:
    """What was found is of another place. To be saved by the caller, in its transaction."""
    host.environment, host.environment_at = {}, None
    if not host.is_local:
        host.facts, host.facts_at = {}, None
    if host.kind != Host.Kind.SSH or (host.host_key and host.secret):
        host.checking_since = timezone.now()
        transaction.on_commit(partial(send_comparison, host.pk), robust=True)


def refuse_stale(host: Host, revision: int) -> None:
    """Raises Conflict when people changed the host since that revision, with each field's value now and whose it is."""
    if revision == host.revision:
        return
    fields: dict[str, str] = {}
    since = AuditEvent.objects.filter(
        action="host.update", object_type=host._meta.label_lower, object_id=str(host.pk), details__revision__gt=revision
    )
    for who, details in since.order_by("id").values_list("actor_name", "details"):
        for name in details["changed"]:
            value = "***" if name == "credentials" else getattr(host, name)
            value = json.dumps(value) if isinstance(value, list) else str(value) or "–"
            fields[name] = _("It is %(value)s now: %(who)s changed it.") % {"value": value, "who": who}
    told = _("The host is at revision %(now)s, not %(named)s: somebody changed it. Nothing was saved; load it again.")
    raise Conflict(told % {"now": host.revision, "named": revision}, fields, code="stale_revision")


def _columns(host: Host) -> dict[str, Any]:
    return {field.name: field.value_from_object(host) for field in Host._meta.concrete_fields}


def delete(user: User, host: Host) -> None:
    """Forget a host. Raises Conflict for this machine, and where runs stand."""
    if host.is_local:
        raise Conflict(_("This machine is always a host. It can be disabled."))
    host_id = host.pk
    try:
        with transaction.atomic():
            audit.record("host.delete", user, host, name=host.name)
            announce(host)
            host.delete()
    except ProtectedError:
        raise Conflict(
            _("Runs stand on this host. Delete their pipelines first, or disable it: then nothing new starts there.")
        ) from None
    forget(host_id)


def shown_key(host: Host) -> HostKey:
    """The key that the host shows now. No credentials are needed, and none sent. Raises Unavailable, Invalid."""
    line = _ask_key(host)
    return HostKey(
        fingerprint=fingerprint(line),
        kind=line.split(" ")[0],
        enrolled=line == host.host_key,
        changed=bool(host.host_key) and line != host.host_key,
    )


def enrol(user: User, host: Host, confirmed: str) -> HostKey:
    """Pin the key whose fingerprint a person confirmed, if it is still the one shown. Raises Conflict, Unavailable."""
    line = _ask_key(host)
    if fingerprint(line) != confirmed.strip():
        raise Conflict(
            _("The host shows another key now: %(shown)s. Compare it with what the host itself says.")
            % {"shown": fingerprint(line)},
            code="key_changed",
            details={"fingerprint": fingerprint(line)},
        )
    with transaction.atomic():
        host.host_key = line
        asked = Host.objects.filter(pk=host.pk, address=host.address, port=host.port)
        if not asked.update(host_key=line, retry_at=None):
            raise Conflict(_("The host was changed while it was asked for its key. Look at the key again."))
        audit.record("host.enrol", user, host, name=host.name, fingerprint=fingerprint(line))
        announce(host)
    return HostKey(fingerprint=confirmed, kind=line.split(" ")[0], enrolled=True, changed=False)


def check(host: Host) -> Host:
    """Log in, and keep what the machine is as its facts. Raises Unavailable with what hinders it, Invalid for a Ray
    cluster that does not see the folder, and Conflict where somebody changed the host meanwhile."""
    asked = place_of(host)
    try:
        found = _facts(host)
    except Unreachable as error:
        reach.lost(host, error)
        raise Unavailable(str(error)) from error
    except TransportError as error:
        reach.failed(host, str(error))
        raise Unavailable(str(error)) from error
    except PlatformError as error:
        reach.failed(host, error.message)
        raise
    reach.answered(host)
    host.facts, host.facts_at, host.last_error = found, timezone.now(), ""
    host.root = host.root or str(found["root"])
    kept = Host.objects.filter(pk=host.pk, **asked).update(
        facts=found, facts_at=host.facts_at, root=host.root, last_error="", last_error_at=None
    )
    if not kept:
        raise Conflict(_("The host was changed while it was checked. It is checked again."))
    seen = found["gpus"]
    gpus.keep(host, [HostGpu(int(one["index"]), str(one["name"]), int(one["memory"]) >> 20) for one in seen])
    announce(host)
    return host


def _facts(host: Host) -> dict[str, Any]:
    """What a machine says of itself, and of a cluster a job that finds the shared folder."""
    if host.kind == Host.Kind.RAY:
        return ray_hosts.look(host)
    return for_host(host).facts(host.root, training.python_of(host))


def _ask_key(host: Host) -> str:
    if host.kind != Host.Kind.SSH:
        raise Invalid(_("Only a host that is reached over SSH has a host key."))
    try:
        transport = greeted(host.address, host.port, host.name)
    except Unreachable as error:
        raise Unavailable(str(error)) from error
    try:
        return key_line(transport.get_remote_server_key())
    finally:
        transport.close()
