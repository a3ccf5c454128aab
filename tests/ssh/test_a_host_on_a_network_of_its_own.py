"""Nothing but the SSH port joins the platform and a host: no file, no socket and no address of one is the other's."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from environments.models import Host
from environments.services import hosts
from environments.transports import for_host
from pipelines.services.logs import read_log
from platform_site.environ import CHECKOUT
from tests.harness import wait_until
from tests.pipelines import builders
from tests.pipelines.conftest import Hands

from . import sshd
from .hosts import PYTHON, MakeHost

pytestmark = pytest.mark.django_db(transaction=True)

HOLDS_ONE = """
import sys
from tests.ssh.network import Network
network = Network()
import subprocess
inside = subprocess.Popen(network.inside("sleep", "600"))
print(network.device, inside.pid, flush=True)
sys.stdin.read()
"""
CONNECTS = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"


@pytest.fixture
def far(make_host: MakeHost, remote: sshd.Sshd, tmp_path: Path) -> Host:
    if remote.network is None:
        pytest.skip("this machine gives no network namespace: it takes root, ip, unshare, nsenter and setpriv")
    builders.queues(slots=4)
    account = remote.account()
    place = {"address": remote.address, "port": remote.port, "account": account}
    return hosts.check(make_host(root=f"{account.home}/{tmp_path.name}", **place))


def test_a_run_there_is_started_followed_and_completed(far: Host) -> None:
    hands = Hands(far)
    stage = hands.script("print('far away'); import time; time.sleep(0.3)", host=far)
    hands.launch(stage)
    assert hands.until(stage) == "completed"
    assert "far away" in read_log(stage).text


def test_what_runs_there_reaches_nothing_that_listens_here(far: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = for_host(far).run([PYTHON, "-c", CONNECTS, "127.0.0.1", port])
        here = subprocess.run([PYTHON, "-c", CONNECTS, "127.0.0.1", port], capture_output=True, check=False)
    assert here.returncode == 0
    assert b"ConnectionRefusedError" in done.stderr


def test_nothing_is_left_of_a_network_whose_tests_were_killed(remote: sshd.Sshd) -> None:
    if remote.network is None:
        pytest.skip("this machine gives no network namespace")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        device, inside = holder.stdout.readline().split()
        assert Path("/sys/class/net", device).exists()
        os.kill(holder.pid, signal.SIGKILL)
    wait_until(lambda: not Path("/sys/class/net", device).exists(), 10)
    wait_until(lambda: not Path("/proc", inside, "exe").exists(), 10)
