"""A host that is this machine, a stage kind that runs a script, and hands that do the workers' work."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from environments import training
from environments.models import Host
from environments.transports import Transport, for_host
from pipelines.folders import run_folder
from pipelines.kinds import RunnerKind, Verdict, registry
from pipelines.models import Attempt, Pipeline, Stage
from pipelines.services import dispatch, launch, observe
from pipelines.services.advance import advance
from pipelines.states import STAGE_TERMINAL, PipelineEvent, PipelineStatus, StageStatus
from pipelines.transitions import move_pipeline
from platform_runtime.contract import Command
from platform_site import valkey
from platform_site.common.models import User
from platform_site.common.queues import HOST_CHECKS, MAINTENANCE

from . import builders


class ScriptKind(RunnerKind):
    """Runs `params["script"]` with the host's Python under a real runner; complete when it exits with 0."""

    name = "script"
    queue = "training"

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        return {} if "script" in params else {"script": "required"}

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        folder = run_folder(attempt)
        assert attempt.host is not None
        return Command(
            argv=[training.any_python(attempt.host), "-c", params["script"]],
            env={"ANNEAL_LAUNCH_TOKEN": attempt.launch_token, "PATH": "/usr/bin:/bin"},
            cwd=folder.path,
            launch_token=attempt.launch_token,
            uuid=str(stage.id),
            target_step=None,
            checkpoint_required=False,
            checkpoint_folder=folder.checkpoints,
            stop_grace_s=float(stage.params.get("grace", 1.0)),
        )

    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        if exit_info.get("code") == 0:
            return Verdict(True, result={"value": 0})
        return Verdict(False, f"exit {exit_info.get('code')} signal {exit_info.get('signal')}", retryable=True)


registry.register(ScriptKind())


@pytest.fixture
def machine(db: None, tmp_path: Path) -> Host:
    builders.queues(slots=4)
    host: Host = builders.host(root=str(tmp_path / "data folder"), python=sys.executable)
    return host


class Hands:
    """What workers and ticks do, one call at a time."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def script(self, code: str, *, of: Pipeline | None = None, name: str = "train", **fields: Any) -> Stage:
        """A stage of a running pipeline, queued."""
        pipeline = of or builders.pipeline(PipelineStatus.PENDING)
        params = {"script": code, **fields.pop("params", {})}
        stage = Stage.objects.create(
            pipeline=pipeline, name=name, kind="script", queue="training", params=params, **fields
        )
        if of is None:
            self.begin(pipeline)
        return stage

    def begin(self, pipeline: Pipeline) -> None:
        move_pipeline(pipeline.id, PipelineEvent.START, actor="test")
        advance(pipeline.id)

    def launch(self, stage: Stage) -> Attempt:
        """Dispatch what is due and do what the worker would do with this stage's message."""
        dispatch.dispatch()
        attempt = self.attempt(stage)
        launch.launch(attempt.id, worker="test")
        return attempt

    def attempt(self, stage: Stage) -> Attempt:
        found: Attempt = Attempt.objects.select_related("stage", "host").filter(stage=stage).latest("number")
        return found

    def look(self) -> None:
        observe.observe_host(self.host.pk)

    def status(self, stage: Stage) -> str:
        stage.refresh_from_db()
        return stage.status

    def until(self, stage: Stage, *statuses: StageStatus, timeout_s: float = 20) -> str:
        """Observe until the stage has one of the statuses (any terminal one when none is named)."""
        wanted = statuses or tuple(STAGE_TERMINAL)
        return self.wait(lambda: self.status(stage) in wanted and self.status(stage), timeout_s)

    def wait(self, met: Callable[[], Any], timeout_s: float = 20) -> Any:
        """Observe until something holds; what it answered."""
        end = time.monotonic() + timeout_s
        while True:
            self.look()
            found = met()
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError("it did not come about in time")
            time.sleep(0.05)


@pytest.fixture
def sent(valkey_server: valkey.Server) -> Callable[[], list[str]]:
    """The first arguments of what waits in the queue of maintenance."""
    return lambda: _waiting(valkey_server, MAINTENANCE)


@pytest.fixture
def asked(valkey_server: valkey.Server) -> Callable[[], list[int]]:
    """The hosts that wait to be checked."""
    return lambda: _waiting(valkey_server, HOST_CHECKS)


def _waiting(server: valkey.Server, queue: str) -> list[Any]:
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        return sorted({orjson.loads(body)["args"][0] for body in client.hvals(f"anneal:{queue}.msgs")})


@pytest.fixture
def hands(machine: Host) -> Iterator[Hands]:
    """Whatever a test left running is ended."""
    yield Hands(machine)
    transport = for_host(machine)
    for attempt in Attempt.objects.exclude(folder=""):
        transport.kill(attempt.folder)
