"""A run that brings Ray up leaves nothing of it: daemons, agents and workers go when the run does, however it goes.

Ray's parts leave their process group, some outlive who started them, and some overwrite their environment.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from environments.transports import Transport
from pipelines.folders import run_folder
from pipelines.kinds import registry
from pipelines.models import Attempt, Stage
from pipelines.recipes import places
from pipelines.recipes.spec import Place
from pipelines.services import cancel
from pipelines.services.settle import STOP_GRACE_S
from platform_runtime import processes
from platform_runtime.contract import Command
from tests.pipelines import builders
from tests.pipelines.conftest import Hands, ScriptKind
from tests.pipelines.test_a_run_from_queue_to_end import carriers

from .training_platform import PYTHON

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

INSIDE = """
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False)
"""
BESIDE = """
import os, ray, subprocess, sys
ray_program = os.path.join(os.path.dirname(sys.executable), "ray")
subprocess.run([ray_program, "start", "--head", "--num-cpus=1", "--include-dashboard=false", "--port=0"], check=True)
ray.init(address="auto")
"""
TASK = """
@ray.remote
def work(path):
    import os, time
    open(path, "w").write(str(os.getpid()))
    time.sleep(300)
ray.get(work.remote(os.path.abspath("ready")))
"""


class RayKind(ScriptKind):
    """A script in the environment that a training gets. Ray's sockets want a short path: `params["short"]`."""

    name = "ray"

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        folder = run_folder(attempt)
        place = Place(PYTHON, "/nowhere", "/nowhere", folder.path, folder.checkpoints, str(stage.id))
        ray = {"RAY_TMPDIR": params["short"], "RAY_USAGE_STATS_ENABLED": "0"}
        return replace(
            super().prepare(stage, params, attempt, transport),
            argv=[PYTHON, "-P", "-c", params["script"]],
            env={**places.environment(place, None), **ray},
            stop_grace_s=STOP_GRACE_S,
        )


registry.register(RayKind())


@dataclass
class RayRun:
    stage: Stage
    attempt: Attempt
    noted: set[processes.Identity]
    """The runner and everything below it, while Ray works."""

    @property
    def alive(self) -> list[int]:
        return sorted([one.pid for one in self.noted if one.alive] + carriers(self.attempt))


@pytest.fixture
def short() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="ray-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["/bin/sleep", "300"]) as process:
        yield process
        process.kill()


@pytest.fixture
def run(hands: Hands, short: str, request: pytest.FixtureRequest) -> RayRun:
    """A run in which Ray's daemons are up and a worker is at its task."""
    if not Path(PYTHON).exists() and not os.environ.get("CI"):
        pytest.skip("the training environment is not set up: environments/setup_local_env.sh training")
    stage = hands.script(f"import os\n{request.param}{TASK}")
    Stage.objects.filter(pk=stage.pk).update(kind="ray", params={**stage.params, "short": short})
    attempt = hands.launch(stage)
    ready = Path(attempt.folder) / "ready"
    hands.wait(lambda: ready.exists() and ready.read_text(), 60)
    attempt.refresh_from_db()
    table = processes.everyone()
    below = processes.family(table, [attempt.handle["runner_pid"]])
    named = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].rpartition(b"/")[2] for pid in below]
    assert {b"gcs_server", b"raylet"} <= set(named)
    worker = int(ready.read_text())
    assert worker in below
    assert os.getpgid(worker) != attempt.handle["child_pid"], "Ray's workers leave the group of the command"
    here = processes.boot_id()
    return RayRun(stage, attempt, {processes.Identity(pid, table[pid].start_time, here) for pid in below})


HOW = {"brought up by the run itself": INSIDE, "started as a service": BESIDE}


@pytest.mark.parametrize("run", HOW.values(), ids=HOW, indirect=True)
def test_cancel_ends_all_of_it_within_its_grace(hands: Hands, run: RayRun, stranger: "subprocess.Popen[bytes]") -> None:
    began = time.monotonic()
    cancel.cancel_stage(run.stage.id, user=builders.person())
    cancel.stop_attempt(run.attempt.id)

    assert hands.until(run.stage, timeout_s=STOP_GRACE_S + 10) == "cancelled"

    assert run.alive == []
    assert time.monotonic() - began < STOP_GRACE_S + 5
    assert stranger.poll() is None


@pytest.mark.parametrize(
    ("run", "killed"),
    [(BESIDE, ["runner_pid"]), (INSIDE, ["runner_pid", "child_pid"])],
    ids=["the runner", "the runner and its command"],
    indirect=["run"],
)
def test_what_a_killed_runner_left_of_it_is_ended_before_the_run_counts_as_lost(
    hands: Hands, run: RayRun, stranger: "subprocess.Popen[bytes]", killed: list[str]
) -> None:
    for who in killed:
        os.kill(run.attempt.handle[who], signal.SIGKILL)

    assert hands.until(run.stage) == "failed"

    assert "its process is gone" in run.stage.error_message
    assert run.alive == []
    assert stranger.poll() is None
