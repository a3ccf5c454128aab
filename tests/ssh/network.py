"""A network of its own for a machine that is this one: it is reached over a cable, and nothing of ours is near."""

import os
import secrets
import subprocess
import time
from ipaddress import IPv4Address
from typing import Final

BENCHES: Final = int(IPv4Address("198.18.0.0"))
"""Set aside for the tests of networks: nobody's addresses (RFC 2544)."""
COUNT: Final = 1 << 15


class Network:
    """A namespace and a virtual cable into it. They are there as long as a process is inside: the one that holds it
    ends with its input, what is started there with whoever started it, so that nothing is left of tests that were
    killed."""

    def __init__(self) -> None:
        """Raises OSError where this machine gives none."""
        first = BENCHES + 4 * secrets.randbelow(COUNT)
        self.ours, self.address = str(IPv4Address(first + 1)), str(IPv4Address(first + 2))
        self.device = f"an{secrets.token_hex(4)}"
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            self._wait()
            there, peer = self._holder.pid, f"{self.device}p"
            _do("ip", "link", "add", self.device, "type", "veth", "peer", "name", peer, "netns", str(there))
            _do("ip", "address", "add", f"{self.ours}/30", "dev", self.device)
            _do("ip", "link", "set", self.device, "up")
            _do(*self.inside("ip", "link", "set", "lo", "up"))
            _do(*self.inside("ip", "address", "add", f"{self.address}/30", "dev", peer))
            _do(*self.inside("ip", "link", "set", peer, "up"))
            # Leads nowhere, and is there: programs ask which address of theirs faces the world.
            _do(*self.inside("ip", "route", "add", "default", "via", self.ours))
        except BaseException:
            self.close()
            raise

    def inside(self, *argv: str) -> list[str]:
        """The same program in there, which ends with the thread that starts it."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *argv]

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()

    def _wait(self) -> None:
        ours = os.readlink("/proc/self/ns/net")
        for _ in range(200):
            if self._holder.poll() is not None:
                break
            if os.readlink(f"/proc/{self._holder.pid}/ns/net") != ours:
                return
            time.sleep(0.05)
        raise OSError("there is no network namespace to be had")


def network() -> Network | None:
    """One, where this machine gives one: it takes root, and a kernel and tools that know of such."""
    try:
        return Network()
    except OSError:
        return None


def _do(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{argv[0]}: {done.stderr.strip()}")
