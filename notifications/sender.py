"""Sends one message through Apprise, in a process of its own: `python -I sender.py`, a request as JSON on its standard
input, an answer as JSON on its standard output.

Apprise and what it imports open connections wherever an address leads. Here every connection is checked when it is
made, on the address that the socket really gets: behind redirects, whatever a name resolves to this time, for HTTP and
SMTP alike. Nothing is started, and no file is opened but what Python and its certificates need. No Django here, and
no secret beside the one address.

Request `{mode: check|send, url, title, body, severity, networks: [CIDR]}`; answer `{code, detail, service, medium}`:
`code` is "ok" or one of `notifications.services.outside.PROBLEMS`.
"""

import ipaddress
import json
import logging
import os
import re
import resource
import socket
import ssl
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import apprise
import certifi
import requests
from urllib3.exceptions import MaxRetryError

SCHEMES: Final = frozenset(
    {
        "json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "slack", "discord", "tgram",
        "workflow", "workflows", "mmost", "mmosts", "rocket", "rockets", "gchat", "ntfy", "ntfys", "gotify",
        "gotifys", "pover", "dingtalk", "feishu", "lark", "wecombot", "pagerduty", "opsgenie",
    }
)  # fmt: skip
EMAIL: Final = frozenset({"mailto", "mailtos"})
REFUSED_OPTIONS: Final = frozenset(
    {
        "template", "attach", "attach-as", "pgppub", "pgpprv", "pgpkey", "wkd", "verify", "cto", "rto", "retry",
        "wait", "store", "optional",
    }
)  # fmt: skip
"""They read files, turn the check of certificates off, or change how long and how often is tried."""
LONGEST_DETAIL: Final = 200
MOST_MEMORY: Final = 1 << 30
"""However much a server answers: Apprise reads it whole."""
LOCALHOST: Final = ("127.0.0.1", "::1")
NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(PermissionError):
    """This connection is not made. An OSError: whoever tries several addresses of a name goes on to the next."""


def reached(text: str) -> Address:
    """The machine that an address stands for: an IPv6 address can hold an IPv4 one. Raises ValueError."""
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address):
        if found in NAT64:
            return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        return found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None) or found
    return found


def may_reach(text: str, networks: list[Any]) -> bool:
    """Whether it is a public address, or in a network that was allowed."""
    try:
        found = reached(text)
    except ValueError:
        return False
    if any(found in network for network in networks):
        return True
    return found.is_global and not found.is_multicast and not found.is_reserved


@dataclass
class Guard:
    """An audit hook: Python asks it before each connection, file and process."""

    networks: list[Any]
    refused: str = ""
    resolved: bool = False
    connected: bool = False
    folders: tuple[str, ...] = field(default_factory=lambda: readable())

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            self._connect(args[1])
        elif event == "socket.getaddrinfo":
            self.resolved = True
        elif event in {"socket.sendto", "socket.bind", "socket.sendmsg"} or event.startswith(
            ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "pty.")
        ):
            raise Refused(f"{event} is not for messages")
        elif event == "open" and isinstance(args[0], str | bytes):
            self._open(os.fsdecode(args[0]), args[2])

    def _connect(self, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if not isinstance(host, str) or not may_reach(host, self.networks):
            self.refused = self.refused or str(host)[:60]
            raise Refused("not a public address")
        self.connected = True

    def _open(self, path: str, flags: int) -> None:
        if flags & (os.O_WRONLY | os.O_RDWR) or not os.path.realpath(path).startswith(self.folders):
            raise Refused("no file is opened for a message")


def readable() -> tuple[str, ...]:
    """Where Python itself, the certificates, time zones and types of files are."""
    certificates = ssl.get_default_verify_paths()
    found = {
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(os.__file__),
        os.path.dirname(certifi.where()),
        *(path for path in (certificates.cafile, certificates.capath) if path),
        *("/etc/ssl", "/etc/pki", "/usr/share/zoneinfo", "/etc/mime.types", "/etc/localtime", "/etc/timezone"),
    }
    return tuple(sorted(os.path.realpath(path) for path in found))


class Said(logging.Handler):
    """What Apprise says of a failure."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.warning = self.cause = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.warning = text
        elif "Exception: " in text:
            self.cause = text.partition("Exception: ")[2]


@dataclass
class Web:
    """What came of the last request. Proxies, and passwords of ~/.netrc, are not asked for."""

    asked: bool = False
    status: int | None = None
    error: Exception | None = None

    def listen(self) -> None:
        plain = requests.Session.request

        def request(session: requests.Session, *args: Any, **options: Any) -> requests.Response:
            session.trust_env = False
            self.asked, self.status = True, None
            try:
                answer = plain(session, *args, **options)
            except requests.RequestException as error:
                self.error = error
                raise
            self.status = answer.status_code
            return answer

        requests.Session.request = request  # type: ignore[method-assign, assignment]  # this process is ours alone

    @property
    def problem(self) -> tuple[str, str]:
        if self.status is not None and not 200 <= self.status < 300:
            return "answered", str(self.status)
        if isinstance(self.error, requests.exceptions.SSLError):
            return "certificate", ""
        if isinstance(self.error, requests.exceptions.ReadTimeout):
            return "silent", ""
        if isinstance(self.error, ValueError):
            return "unusable", ""  # a part of the address that only requests looks at
        if self.asked and self.status is None and not self._was_not_connected:
            return "interrupted", ""  # in the middle of the question or of the answer: it may have been heard
        return "", ""

    @property
    def _was_not_connected(self) -> bool:
        """urllib3, which is told to repeat nothing, gives up like this where there was no connection alone."""
        error = self.error
        return isinstance(error, requests.ConnectionError) and isinstance(error.args[0], MaxRetryError)


@dataclass
class Mail:
    """Whether a server of mail was reached: what Apprise says of a failure does not tell."""

    asked: bool = False
    reached: bool = False

    def listen(self) -> None:
        plain = socket.create_connection

        def connect(*args: Any, **options: Any) -> socket.socket:
            self.asked = True
            made = plain(*args, **options)
            self.reached = True
            return made

        socket.create_connection = connect


@dataclass
class Answer:
    code: str
    detail: str = ""
    service: str = ""
    medium: str = ""


def scrubbed(text: str, url: str) -> str:
    """Without any word of the address but its host: those are what must not be shown."""
    try:
        host = set(re.split(r"\W+", urlsplit(url).hostname or ""))
    except ValueError:
        host = set()
    words = {word for word in re.split(r"[^\w-]+", url) if len(word) > 2} - host
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "***")
    return re.sub(r"\s+", " ", text).strip()[:LONGEST_DETAIL]


def opened(url: str) -> tuple[Answer, Any]:
    """What Apprise makes of an address; nothing where it cannot be used."""
    scheme = url.partition(":")[0].strip().lower()
    if scheme not in SCHEMES | {"http", "https"}:
        return Answer("scheme"), None
    asset = apprise.AppriseAsset(
        app_id="Anneal",
        app_desc="Anneal",
        app_url="",
        storage_mode="memory",
        secure_logging=True,
        allow_templates=False,
        async_mode=False,
        plugin_paths=[],
    )
    try:
        options = {name.lower().lstrip("+-:") for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    except ValueError:
        return Answer("unusable"), None
    if found := sorted(options & REFUSED_OPTIONS):
        return Answer("option", found[0]), None
    # Addresses of well-known services are known as they are; any other one takes JSON.
    server = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if server is None and scheme in {"http", "https"}:
        plain = re.sub(r"^\s*http(s?):", r"json\1:", url, flags=re.IGNORECASE)
        server = apprise.Apprise.instantiate(plain, asset=asset, suppress_exceptions=True)
    if server is None:
        return Answer("unusable"), None
    schemes = {one for kept in (server.protocol, server.secure_protocol) for one in _words(kept)}
    if not schemes & SCHEMES:
        return Answer("scheme"), None
    medium = "email" if schemes & EMAIL else "webhook"
    return Answer("ok", service=str(server.service_name), medium=medium), server


def _words(kept: Any) -> tuple[str, ...]:
    return (kept,) if isinstance(kept, str) else tuple(kept or ())


def written_out(server: Any) -> tuple[str, ...]:
    """What an address names by number, or as this machine itself; nothing where a name has to be resolved first."""
    host = str(getattr(server, "smtp_host", None) or getattr(server, "host", None) or "").strip("[]").lower()
    if host.rpartition(".")[2] == "localhost":
        return LOCALHOST
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return ()


def sent(request: dict[str, Any]) -> Answer:
    url = str(request["url"])
    networks = [ipaddress.ip_network(network) for network in request["networks"]]
    said, web, mail = Said(), Web(), Mail()
    web.listen()
    mail.listen()
    answer, server = opened(url)
    if server is None:
        return answer
    if request["mode"] == "check":
        # What can be seen already is told now. What guards is the look at the connection: a name may lead anywhere.
        found = written_out(server)
        if found and not any(may_reach(one, networks) for one in found):
            return Answer("address", found[0], answer.service, answer.medium)
        return answer
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(said)
    bundle = apprise.Apprise(asset=server.asset)
    bundle.add(server)
    guard = Guard(networks)
    sys.addaudithook(guard)
    done = bundle.notify(
        title=request["title"],
        body=request["body"],
        notify_type={1: "info", 2: "warning"}.get(request["severity"], "failure"),
        body_format="text",
    )
    if done:
        return answer
    code, detail = web.problem
    if guard.refused and not guard.connected:
        code, detail = "address", guard.refused
    elif guard.refused and web.status is None:
        # It was sent on from one that may be reached to one that may not.
        code, detail = "address", guard.refused
    elif not code and guard.resolved and not guard.connected:
        code = "unresolved"
    elif not code and (web.error is not None or (mail.asked and not mail.reached)):
        code = "unreachable"
    elif not code:
        code, detail = "rejected", scrubbed(": ".join(filter(None, (said.warning, said.cause))), url)
    return Answer(code, detail, answer.service, answer.medium)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    request = json.loads(sys.stdin.buffer.read())
    logging.getLogger("apprise").propagate = False
    sys.stdout.write(json.dumps(asdict(sent(request))) + "\n")


if __name__ == "__main__":
    main()
