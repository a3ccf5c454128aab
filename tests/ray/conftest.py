"""A real Ray head, started as people start one, with a bearer token; and a host that is this cluster."""

import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from environments.models import Host
from environments.services.ray_hosts import enrol
from environments.transports import TransportError
from environments.transports.ray_jobs import RayJobs
from tests.harness import free_port, wait_until
from tests.pipelines import builders
from tests.pipelines.conftest import Hands
from tests.training.trainings import PYTHON, need_training_environment


@dataclass
class Head:
    """`mark` is in the environment of all its processes, and of nobody else's."""

    address: str
    token: str
    mark: str

    @property
    def jobs(self) -> RayJobs:
        return RayJobs(self.address, self.token)

    def processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("ANNEAL_TEST_HEAD") == self.mark
        except psutil.Error:
            return False

    def kill(self) -> None:
        while found := self.processes():
            for process in found:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    pass
            psutil.wait_procs(found, timeout=5)


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    need_training_environment()
    found = start(Path(tmp_path_factory.mktemp("ray")))
    yield found
    found.kill()


def start(folder: Path) -> Head:
    """`ray start --head` with every port its own, so that several may run on one machine."""
    token, mark, port = secrets.token_hex(16), secrets.token_hex(8), free_port()
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    env = {
        "PATH": f"{Path(PYTHON).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A GPU of no device: what asks for one gets it, and finds none.
        "CUDA_VISIBLE_DEVICES": "-1",
        "ANNEAL_TEST_HEAD": mark,
    }
    command = [
        PYTHON, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address=127.0.0.1", f"--port={free_port()}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--num-cpus=64", "--num-gpus=1",
        f"--dashboard-agent-listen-port={free_port()}", f"--temp-dir=/tmp/r{mark[:6]}", "--disable-usage-stats",
    ]  # fmt: skip
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = Head(f"http://127.0.0.1:{port}", token, mark)
    wait_until(lambda: answers(found), 60, "the Jobs API")
    return found


def answers(head: Head) -> bool:
    try:
        return bool(head.jobs.version())
    except TransportError:
        return False


@pytest.fixture
def cluster(db: None, head: Head, tmp_path: Path) -> Host:
    """The cluster, enrolled: the folder is this machine's, as the head is."""
    builders.queues(slots=4)
    found = enrol(
        name="cluster",
        address=head.address,
        token=head.token,
        root=str(tmp_path / "shared folder"),
        python=PYTHON,
        slots=4,
        project=builders.project(),
        user="test",
    )
    return found.host


@pytest.fixture
def hands(cluster: Host) -> Hands:
    return Hands(cluster)
