"""Ray's Jobs REST API: submit, look, stop. One client a thread and address, so that connections are kept."""

import ssl
import threading
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from django.utils.translation import gettext as _

from environments.models import Host
from platform_site.common import crypto
from platform_site.common.errors import Invalid

from .errors import TransportError, Unreachable, no_connection

TIMEOUT_S: Final = 10.0
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
ALIVE: Final = frozenset({"PENDING", "RUNNING"})
"""Of the states of a job: it holds something, or will."""


@dataclass(frozen=True)
class RayJob:
    """`node` is the address of the machine that its entry point runs on; empty before that."""

    status: str
    message: str
    node: str

    @property
    def alive(self) -> bool:
        return self.status in ALIVE


@dataclass(frozen=True)
class RayJobs:
    """The jobs of one cluster. Every method raises Unreachable when the head does not answer, TransportError when it
    refuses; call it outside transactions."""

    address: str
    token: str = field(default="", repr=False)

    def version(self) -> str:
        return str(self._asked("GET", "/api/version").json().get("ray_version", ""))

    def look(self, name: str) -> RayJob | None:
        """The job of that submission id; None when there is none."""
        answer = self._asked("GET", f"/api/jobs/{name}", missing=True)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        found = answer.json()
        node = urlsplit(str(found.get("driver_agent_http_address") or "")).hostname or ""
        return RayJob(str(found.get("status", "")), str(found.get("message") or ""), node)

    def submit(self, name: str, entrypoint: str, **wanted: Any) -> None:
        """Start a job, or leave the one that has this id already: it is looked for first, and Ray refuses a second.

        `wanted` are further fields of the request. What it says stands in Ray's dashboard: nothing secret.
        """
        if self.look(name) is not None:
            return
        try:
            self._asked("POST", "/api/jobs/", {"submission_id": name, "entrypoint": entrypoint, **wanted})
        except TransportError:
            if self.look(name) is None:
                raise

    def logs(self, name: str) -> str:
        return str(self._asked("GET", f"/api/jobs/{name}/logs").json().get("logs", ""))

    def stop(self, name: str) -> bool:
        """Ask for its end; False when it has ended, or was never there."""
        answer = self._asked("POST", f"/api/jobs/{name}/stop", missing=True)
        return answer.status_code == httpx.codes.OK and bool(answer.json().get("stopped"))

    def forget(self, name: str) -> None:
        """Remove the record of a job that has ended."""
        self._asked("DELETE", f"/api/jobs/{name}", missing=True)

    def nodes(self) -> set[str]:
        """Addresses of the machines that are there."""
        rows = self._asked("GET", "/nodes?view=summary").json()["data"]["summary"]
        return {str(row["ip"]) for row in rows if row.get("raylet", {}).get("state") == "ALIVE"}

    def _asked(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            answer = _client(self.address).request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            told = _("The Jobs API of Ray does not answer at %(address)s: %(error)s")
            raise Unreachable(told % {"address": self.address, "error": no_connection(error)}) from error
        if answer.is_success or (missing and answer.status_code == httpx.codes.NOT_FOUND):
            return answer
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Unreachable(_("%(address)s does not take the token.") % {"address": self.address})
        if answer.is_server_error:  # a head that comes up has no agents yet; nobody knows what it did
            told = _("The Jobs API of Ray at %(address)s is not ready: HTTP %(code)s. The log of its head says more.")
            raise Unreachable(told % {"address": self.address, "code": answer.status_code})
        said = answer.text.strip().splitlines()[-1:] or [""]
        raise TransportError(f"{self.address}: HTTP {answer.status_code}: {said[0][:500]}")


def jobs_of(host: Host) -> RayJobs:
    """Raises Invalid for an address that must not be used, Unavailable when no key of ours opens the token."""
    address = checked(host.address, has_token=bool(host.secret))
    return RayJobs(address, crypto.decrypt(host.secret) if host.secret else "")


def checked(address: str, *, has_token: bool) -> str:
    """The address as it is asked. Whoever can reach a Jobs API runs what they like there: beyond this machine it takes
    TLS, so that the token is not read on the way, and a token. Raises Invalid."""
    parts = urlsplit(address.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        told = _("Give the address of the Jobs API, such as https://ray-head:8265.")
        raise Invalid(told, {"address": told})
    if parts.hostname not in LOOPBACK and (parts.scheme != "https" or not has_token):
        told = _("Beyond this machine the Jobs API needs https:// and a token: whoever reaches it runs what they like.")
        raise Invalid(told, {"address": told})
    return address.strip().rstrip("/")


class _Clients(threading.local):
    def __init__(self) -> None:
        self.by_address: dict[str, httpx.Client] = {}


_clients = _Clients()


def _client(address: str) -> httpx.Client:
    """No proxies and no cookies of anybody's; certificates as the system, or SSL_CERT_FILE, has them."""
    found = _clients.by_address.get(address)
    if found is None:
        found = httpx.Client(base_url=address, timeout=TIMEOUT_S, trust_env=False, verify=ssl.create_default_context())
        _clients.by_address[address] = found
    return found
