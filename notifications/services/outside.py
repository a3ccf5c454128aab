"""Messages that leave the platform: each by a process of its own (`notifications.sender`), which may reach public
addresses alone and is ended when it takes too long."""

import json
import logging
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from platform_site.common.severity import Severity

logger = logging.getLogger(__name__)

LONGEST_S: Final = 30.0
SENDER: Final = Path(__file__).resolve().parents[1] / "sender.py"

PROBLEMS: Final = {
    "scheme": gettext_noop("Addresses of this kind are not sent to. docs/notifications.md lists those that are."),
    "option": gettext_noop("The address has the option %(detail)s, which is not taken."),
    "unusable": gettext_noop("This is no address that messages can be sent to: a part is missing, or misspelt."),
    "address": gettext_noop("It leads to %(detail)s, which is no public address. ANNEAL_NOTIFY_NETWORKS can allow it."),
    "unresolved": gettext_noop("The name of the server cannot be resolved."),
    "unreachable": gettext_noop("The server cannot be reached, or refuses the connection."),
    "certificate": gettext_noop("The certificate of the server is not valid."),
    "silent": gettext_noop("The server did not answer in time. The message may have arrived."),
    "answered": gettext_noop("The server did not take the message: it answered %(detail)s."),
    "rejected": gettext_noop("The message was not taken: %(detail)s"),
    "broken": gettext_noop("The message could not be made. The log of the worker says more."),
    "interrupted": gettext_noop("Sending was cut off in the middle. The message may have arrived."),
}
PASSING: Final = frozenset({"unresolved", "unreachable"})
"""Nothing has arrived, and another try may help. So it may where the server is busy: see `Outcome.passes`."""
UNKNOWN: Final = frozenset({"silent", "interrupted"})
"""It may have arrived: another try could tell it twice."""
BUSY: Final = frozenset({"408", "425", "429", "500", "502", "503", "504"})


@dataclass(frozen=True)
class Outcome:
    """`code` is "ok" or one of PROBLEMS. `service` and `medium` say what kind of address it was."""

    code: str
    detail: str = ""
    service: str = ""
    medium: str = ""

    @property
    def ok(self) -> bool:
        return self.code == "ok"

    @property
    def passes(self) -> bool:
        """Whether it has not arrived for sure, and may when tried again."""
        return self.code in PASSING or (self.code == "answered" and self.detail in BUSY)

    @property
    def may_have_arrived(self) -> bool:
        return self.code in UNKNOWN


@dataclass(frozen=True)
class Message:
    """Plain text."""

    title: str
    body: str
    severity: Severity


def told(problem: dict[str, Any]) -> str:
    """A problem in words; empty for none."""
    template = PROBLEMS.get(str(problem.get("code", "")))
    return _(template) % {"detail": problem.get("detail", "")} if template else ""


def checked(url: str) -> Outcome:
    """Whether messages can be sent to such an address. Connects to nothing."""
    return _ask({"mode": "check", "url": url})


def sent(url: str, message: Message) -> Outcome:
    """Send it now. Takes LONGEST_S at most; never within a transaction."""
    return _ask({"mode": "send", "url": url, **asdict(message)})


def _ask(request: dict[str, Any]) -> Outcome:
    request["networks"] = [str(network) for network in settings.NOTIFY_NETWORKS]
    try:
        # The address goes by a pipe: arguments and environment of a process can be seen by others.
        done = subprocess.run(
            [sys.executable, "-I", str(SENDER)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=LONGEST_S,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome("silent")
    if done.returncode < 0:
        logger.error("The sender of messages was ended by signal %d", -done.returncode)
        return Outcome("interrupted")
    try:
        return Outcome(**json.loads(done.stdout))
    except (ValueError, TypeError):
        # What it said may repeat the address: only how it ended, and in which line.
        where = [
            line.strip()
            for line in done.stderr.decode(errors="replace").splitlines()
            if line.strip().startswith("File ")
        ]
        logger.error("The sender of messages ended with %d: %s", done.returncode, where[-1:])
        return Outcome("broken")
