"""What people say of a host: the fields of each kind, and all that is wrong with them, each at its own."""

import re
from ipaddress import ip_address
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from environments.models import Host
from environments.services import ray_hosts
from environments.transports.secrets import Secret
from platform_site.common.errors import Conflict, Invalid
from platform_site.common.paths import slug as valid_slug

MASK: Final = re.compile(r"[*•·]+")
"""What stands in a form in a secret's place. It is none."""
RAY: Final = frozenset({"address", "root", "token"})
"""What is said of a Ray cluster, besides what any host has."""
OF_ANY_KIND: Final = frozenset({"slots", "enabled", "python", "labels", "gpus", "gpus_by_hand"})
FIELDS: Final = OF_ANY_KIND | {"address", "port", "user", "root"}
SECRETS: Final = frozenset({"password", "private_key", "passphrase", "token"})
KNOWN: Final = {
    Host.Kind.LOCAL: OF_ANY_KIND,
    Host.Kind.SSH: FIELDS | SECRETS - {"token"},
    Host.Kind.RAY: OF_ANY_KIND | RAY,
}
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,62}\$?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def apply(host: Host, fields: dict[str, Any]) -> None:
    """Set the fields of a row that nobody else has. Saves nothing. Raises Invalid with all that is wrong, and Conflict
    where another host is at that place."""
    if wrong := _name_problem(host.name) | _set(host, fields):
        raise Invalid(next(iter(wrong.values())), wrong)
    if told := _twice(host, fields):
        raise Conflict(told, {"address": told})


def problems(host: Host, fields: dict[str, Any]) -> dict[str, str]:
    """All that is wrong with a row once it has these fields, by field, for a form. Sets them; saves nothing."""
    found = _name_problem(host.name) | _set(host, fields)
    if Host.objects.filter(name=host.name).exclude(pk=host.pk).exists():
        found.setdefault("name", _("There is a host of this name already."))
    if told := _twice(host, fields):
        found.setdefault("address", told)
    return found


def given(fields: dict[str, Any]) -> bool:
    """Whether there are credentials among the fields. A mask is none."""
    return any(_meant(fields.get(name)) for name in ("password", "private_key", "token"))


def _said(error: Invalid) -> dict[str, str]:
    return {name: " ".join(told) for name, told in error.fields.items()}


def _name_problem(name: str) -> dict[str, str]:
    try:
        valid_slug(name, field="name")
    except Invalid as error:
        return _said(error)
    return {}


def _set(host: Host, fields: dict[str, Any]) -> dict[str, str]:
    """Set what can be; what is wrong with the rest, by field."""
    known = KNOWN[Host.Kind(host.kind)]
    told = _("A host of this kind has no field %(name)s.")
    found = {name: told % {"name": name} for name in sorted(fields.keys() - known)}
    fields = {name: value for name, value in fields.items() if name in known}
    if host.kind == Host.Kind.RAY:
        token = str(fields["token"]).strip() if _meant(fields.get("token")) else None
        where = {name: str(fields.get(name, getattr(host, name))).strip() for name in ("address", "root", "python")}
        try:
            ray_hosts.fill_in(host, **where, token=token)
        except Invalid as error:
            found |= _said(error)
        fields = {name: value for name, value in fields.items() if name in OF_ANY_KIND - {"python"}}
    for name in FIELDS & fields.keys():
        setattr(host, name, fields[name].strip() if isinstance(fields[name], str) else fields[name])
    host.root = host.root.rstrip("/")
    return found | _problems(host) | (_set_secret(host, fields) if given(fields) else {})


def _meant(value: Any) -> bool:
    return bool(value) and not MASK.fullmatch(str(value).strip())


def _set_secret(host: Host, fields: dict[str, Any]) -> dict[str, str]:
    if _meant(fields.get("password")) and _meant(fields.get("private_key")):
        return {"private_key": _("Give a password or a private key, not both.")}
    secret = Secret(**{name: fields[name] for name in SECRETS - {"token"} if _meant(fields.get(name))})
    try:
        if secret.private_key:
            secret.key()
    except Invalid as error:
        return _said(error)
    host.secret = secret.sealed()
    return {}


def _twice(host: Host, fields: dict[str, Any]) -> str:
    """A machine that stands in two rows has its slots and GPUs counted twice: which other row leads to the same folder
    of the same user, in a sentence."""
    if host.kind != Host.Kind.SSH or not fields.keys() & {"address", "port", "user", "root"}:
        return ""
    same = Host.objects.filter(kind=host.kind, address=host.address, port=host.port, user=host.user)
    for other in same.exclude(pk=host.pk):
        if not host.root or not other.root or host.root == other.root:
            return _(
                "Host %(name)s leads there already, as the same user. Change that one, or give each a root folder of "
                "its own."
            ) % {"name": other.name}
    return ""


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return _NAME.fullmatch(value) is not None
    return True


def _problems(host: Host) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        host.clean_fields(exclude={field.name for field in Host._meta.fields} - {"labels", "gpus"})
    except ValidationError as error:
        found |= {name: " ".join(told) for name, told in error.message_dict.items()}
    over_ssh = host.kind == Host.Kind.SSH
    if over_ssh and not _is_address(host.address):
        found["address"] = _("Give a host name or an IP address; user and port have fields of their own.")
    if over_ssh and not _USER.fullmatch(host.user):
        found["user"] = _("Give the name of a user on the host.")
    for name, value, most in (("port", host.port, 65_535), ("slots", host.slots, 1000)):
        if not 1 <= value <= most:
            found[name] = _("A whole number from %(low)s to %(high)s.") % {"low": 1, "high": most}
    for name in ("root", "python"):
        path = getattr(host, name)
        if path and (not path.startswith("/") or ".." in path.split("/") or _CONTROL.search(path)):
            found[name] = _("Give an absolute path, without “..”.")
    return found
