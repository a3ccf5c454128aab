"""Compare the training environment of a host with version.json, by the script that people run, on the host itself."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from environments import training
from environments.drift import Drift, drift
from environments.models import Host
from environments.services import hosts, reach
from environments.services.setup_copy import push_scripts
from environments.transports import CommandResult, TransportError, Unreachable, for_host
from platform_site.common.errors import Unavailable

COMPARE_S: Final = 150.0
"""It hashes verl's files, and where there are GPUs it starts torch."""
KEPT: Final = ("ok", "kind", "python", "torch_build", "checks")
LOWEST_ENV: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def needed() -> str:
    """The digest of what the platform needs."""
    versions = Path(settings.CHECKOUT_DIR, "environments", "version.json").read_bytes()
    return hashlib.sha256(versions).hexdigest()[:16]


def verify(host: Host, *options: str) -> CommandResult:
    """`verify_env.py` on the host: exit code 0 when all is there. Raises TransportError, Unreachable."""
    transport = for_host(host)
    folder = str(settings.CHECKOUT_DIR) if host.is_local else push_scripts(host, transport)
    script = f"{folder}/environments/verify_env.py"
    argv = [training.any_python(host), "-P", script, "--python", training.python_of(host), *options]
    return transport.run(argv, env=LOWEST_ENV, timeout_s=COMPARE_S)


def compare(host: Host) -> Drift:
    """See what the machine is and has, and keep how its environment differs. Without one there is nothing to compare.

    Raises Unavailable with what hinders it.
    """
    hosts.check(host)
    found: dict[str, Any] = {}
    if host.kind != Host.Kind.RAY and training.state(host).ready:
        found = _compared(host)
    host.environment, host.environment_at = found, timezone.now()
    same = Host.objects.filter(pk=host.pk, **hosts.place_of(host))
    same.update(environment=found, environment_at=host.environment_at)
    return drift(host)


def due(*, at_start: bool = False) -> list[Host]:
    """Hosts to be compared now: those whose last comparison is old, was with another version.json, or is missing.

    `at_start`: all, since nobody knows what was done while the platform was away. Not those that were never checked,
    are switched off or do not answer. Of any kind those whose check was asked for and never came to its end.
    """
    begun = Q(checking_since__isnull=False)
    found = Host.objects.filter(begun | Q(enabled=True, unreachable_since=None) & ~Q(kind=Host.Kind.RAY))
    left = [host for host in found if host.checking_since is not None and not hosts.is_being_checked(host)]
    known = [host for host in found if host.checking_since is None and (host.is_local or host.facts_at is not None)]
    if at_start or not known:
        return left + known
    wanted = needed()
    return left + [host for host in known if _is_due(host, wanted)]


def _is_due(host: Host, wanted: str) -> bool:
    if not host.environment:
        return training.state(host).ready
    if host.environment["wanted"] != wanted:
        return True
    period = settings.ENVIRONMENT_CHECK_S
    now, at = timezone.now(), host.environment_at
    # One from the future is from before the clock was set back.
    return bool(period) and (at is None or not now - timedelta(seconds=period) < at <= now)


def _compared(host: Host) -> dict[str, Any]:
    try:
        done = verify(host, "--json")
        told = json.loads(done.stdout)
        return {**{name: told[name] for name in KEPT}, "wanted": needed()}
    except Unreachable as error:
        reach.lost(host, error)
        raise Unavailable(str(error)) from error
    except TransportError as error:
        reach.failed(host, str(error))
        raise Unavailable(str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-300:]
        message = _("The environment of %(host)s could not be compared: %(said)s") % {"host": host.name, "said": said}
        reach.failed(host, message)
        raise Unavailable(message) from error
