"""People and runs for the browser to look at: real rows, real metrics files read by the real sync, real logs."""

import json
import math
import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from environments.models import Host
from environments.transports import for_host
from monitoring.diagnostics.engine import begun
from monitoring.diagnostics.rules.log_error import RULE as LOG_ERROR
from monitoring.models import Segment, Stream, SystemLog
from monitoring.selectors import final_metrics
from monitoring.services.diagnose import keep_one, refresh
from monitoring.services.sync import open_segment, sync_stream
from monitoring.services.system import sync_system
from pipelines.folders import attempt_path, run_folder
from pipelines.models import Attempt, GpuLease, Job, Pipeline, Recipe, Stage
from pipelines.services import dispatch, launch
from pipelines.services.builtin import install
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from platform_runtime.machine import Record
from platform_runtime.system import SystemSample
from platform_site.common.models import User
from platform_site.common.roles import Role, grant
from tests.pipelines import builders

PASSWORD = "a long enough password"
OUTCOMES = {"completed": "succeeded", "failed": "failed", "cancelled": "cancelled"}


def begun_once() -> None:
    """As on a platform that was started: what is there is not looked for again with each run of a world."""
    if not Recipe.objects.filter(is_template=True).exists():
        install()


def person(name: str = "alice", role: Role = Role.OPERATOR) -> User:
    user = User.objects.filter(username=name).first()
    if user is None:
        user = User.objects.create_user(name, password=PASSWORD)
        grant(user, role)
    return user


def bare_host(name: str, *, gpus: int) -> Host:
    """A host over SSH that was checked, and has no training environment yet."""
    cards = [{"index": n, "name": "NVIDIA H100 80GB HBM3", "memory": 80 << 30, "driver": "550.1"} for n in range(gpus)]
    facts = {"cpus": 64, "memory": 1 << 38, "gpus": cards, "training": {}}
    where = {"kind": "ssh", "address": f"{name}.example.org", "user": "trainer", "host_key": "ssh-ed25519 AAAA"}
    return builders.host(name, facts=facts, facts_at=timezone.now(), seen_at=timezone.now(), **where)


@dataclass
class Run:
    """A run whose trainer we are: `log_step` writes what a trainer would write, and the platform reads it."""

    job: Job
    attempt: Attempt

    @property
    def metrics_file(self) -> Path:
        return Path(run_folder(self.attempt).metrics)

    def write(self, steps: range, *, started: datetime, spacing_s: float = 1.0, seed: int = 1) -> None:
        self.metrics_file.parent.mkdir(parents=True, exist_ok=True)
        with self.metrics_file.open("a") as file:
            for step in steps:
                at = (started + timedelta(seconds=step * spacing_s)).timestamp()
                file.write(json.dumps({"v": 1, "step": step, "time": at, "metrics": metrics(step, seed)}) + "\n")

    def sync(self) -> None:
        host = self.attempt.host
        assert host is not None
        sync_stream(self.job.stream_id, for_host(host))
        refresh(self.job.stream_id)
        self.job.stream.refresh_from_db()

    def log_step(self, step: int, **metrics: Any) -> None:
        """A step with values of the test's own."""
        body = {"v": 1, "step": step, "time": timezone.now().timestamp(), "metrics": metrics}
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(body) + "\n")

    def measure(self, samples: range) -> None:
        """What the runner samples of the machine: two GPUs, and a disk that fills up."""
        host = self.attempt.host
        assert host is not None
        assert self.attempt.started_at is not None
        path = run_folder(self.attempt).system
        gib = 2.0**30
        for n in samples:
            values = {
                "cpu_percent": 40.0 + n % 7,
                "run_cpu_percent": 180.0,
                "memory_used_bytes": 21 * gib,
                "memory_total_bytes": 64 * gib,
                "run_memory_bytes": 9 * gib,
                "disk_free_bytes": 90 * gib - n * 0.05 * gib,
                "disk_total_bytes": 500 * gib,
                "gpu.0.use_percent": 40.0 + n,
                "gpu.0.memory_used_bytes": 31 * gib,
                "gpu.0.memory_total_bytes": 80 * gib,
                "gpu.1.use_percent": 60.0 + n,
                "gpu.1.memory_used_bytes": 33 * gib,
                "gpu.1.memory_total_bytes": 80 * gib,
            }
            Record(path).add(SystemSample(n, self.attempt.started_at.timestamp() + 5 * n, values))
        SystemLog.objects.filter(segment__stream_id=self.job.stream_id).update(looked_at=None)
        sync_system(Segment.objects.get(stream_id=self.job.stream_id), path, for_host(host))

    def say(self, text: str) -> None:
        log = Path(run_folder(self.attempt).output_log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(text)


def lease(run: Run, *indices: int, memory_mib: int = 81559) -> None:
    """Give the run these GPUs of its host, which has four."""
    host = run.attempt.host
    assert host is not None
    cards = [{"index": index, "name": "NVIDIA H100 80GB HBM3", "memory_mib": memory_mib} for index in range(4)]
    Host.objects.filter(pk=host.pk).update(gpus=cards, gpus_by_hand=True, labels=["fast", "lab-2"])
    Stage.objects.filter(pk=run.job.pk).update(gpus=len(indices), gpu_memory_gib=80, labels="fast")
    run.attempt.gpus = list(indices)
    run.attempt.save(update_fields=["gpus"])
    for index in indices:
        GpuLease.objects.create(host=host, index=index, attempt=run.attempt, project=run.job.project)


def metrics(step: int, seed: int = 1) -> dict[str, Any]:
    wobble = random.Random(step * 1000 + seed)
    loss = 0.55 + 3.1 * math.exp(-step / 40) + wobble.gauss(0, 0.06) * (1 + math.exp(-step / 60))
    found: dict[str, Any] = {
        "train/loss": round(loss, 5),
        "train/grad_norm": round(abs(1.2 + 2 * math.exp(-step / 25) + wobble.gauss(0, 0.25)), 4),
        "train/lr": 1e-3 * min(1, step / 10) * 0.5 * (1 + math.cos(math.pi * min(1, step / 240))),
        "train/tokens_per_second": round(5200 + wobble.gauss(0, 240), 1),
        "train/step_time": round(0.2 + abs(wobble.gauss(0, 0.02)), 4),
    }
    if step % 20 == 0:
        found["val/loss"] = round(loss + 0.12, 5)
    return found


def sick_run(root: Path, **fields: Any) -> Run:
    """A run that the doctor finds a spike, a flat loss, a NaN and an error in the log in, and that was tried again."""
    made = run("failed", name="Diverged", root=root, steps=100, error="Stopped by nan_inf.", **fields)
    made.log_step(101, **{"train/loss": 0.9, "train/grad_norm": 55.0})
    for step in range(102, 160):
        made.log_step(step, **{"train/loss": 2.4, "train/grad_norm": 1.2})
    made.log_step(160, **{"train/loss": "NaN", "train/grad_norm": "NaN"})
    made.sync()
    log = 'Traceback (most recent call last):\n  File "/srv/trainer.py", line 7\nValueError: <no> rows\n'
    mark = LOG_ERROR.scan(log, 160)
    assert mark is not None
    keep_one(made.job.pk, 1, begun(LOG_ERROR, "", mark))
    again = run("completed", name="Diverged, again", root=root, steps=60)
    Job.objects.filter(pk=again.job.pk).update(incident=made.job.stream.findings.filter(rule="nan_inf").first())
    made.job.stream.refresh_from_db()
    return made


def run(
    status: str = "completed",
    *,
    name: str = "",
    recipe: str = "tiny-sft",
    steps: int = 240,
    target: int = 240,
    age: timedelta = timedelta(minutes=20),
    root: Path,
    error: str = "",
    user: User | None = None,
    overrides: dict[str, Any] | None = None,
    spacing_s: float = 0.2,
) -> Run:
    """A run in `status`. `root` is where its host keeps run folders."""
    begun_once()
    user = user or person()
    Host.objects.filter(name="local").update(root=str(root))
    host = Host.objects.get(name="local")
    revision = Recipe.objects.get(slug=recipe).revisions.select_related("dataset", "recipe__project").latest("number")
    assert revision.dataset is not None
    started = timezone.now() - age
    has_started, has_ended = status not in ("pending", "queued"), status in OUTCOMES
    ended = started + timedelta(seconds=steps * spacing_s + 9) if has_ended else None
    pipeline_status = status if has_ended else "running"
    name = name or revision.recipe.name
    pipeline = Pipeline.objects.create(
        project=revision.recipe.project, name=name, status=pipeline_status, created_by=user, started_at=started
    )
    uid = uuid.uuid4()
    stage = Stage.objects.create(
        id=uid, pipeline=pipeline, name="train", kind="train_model", queue="training", status=status, host=host,
        started_at=started if has_started else None, completed_at=ended, error_message=error, queued_at=started,
    )  # fmt: skip
    about = {"algorithm": revision.recipe.algorithm, "trainer": revision.recipe.trainer}
    stream = Stream.objects.create(id=uid, project=revision.recipe.project, target_step=target, **about)
    job = Job.objects.create(
        id=uid, stage=stage, stream=stream, project=revision.recipe.project, name=name, recipe_revision=revision,
        dataset_version=revision.dataset.versions.latest("number"), target_step=target, overrides=overrides or {},
    )  # fmt: skip
    Job.objects.filter(pk=uid).update(created_at=started - timedelta(seconds=3))
    attempt = Attempt.objects.create(
        stage=stage, number=1, host=host, folder=attempt_path(str(root), uid, 1), launch_token=uid.hex,
        started_at=started if has_started else None, completed_at=ended, outcome=OUTCOMES.get(status, ""),
        exit_code={"completed": 0, "failed": 1}.get(status), reason=error,
    )  # fmt: skip
    made = Run(job, attempt)
    if has_started and steps:
        open_segment(uid, attempt=1, path=run_folder(attempt).metrics)
        made.write(range(1, steps + 1), started=started, spacing_s=spacing_s)
        made.say("".join(f"step:{n} - train/loss:{metrics(n)['train/loss']:.4f}\n" for n in range(1, steps + 1)))
        made.sync()
    if has_ended:
        folder = run_folder(attempt).checkpoints
        left = [{"step": step, "path": f"{folder}/global_step_{step}"} for step in (steps // 2, steps)]
        Job.objects.filter(pk=uid).update(
            final_metrics=final_metrics(uid), final_step=steps, checkpoints=left if status == "completed" else []
        )
        Pipeline.objects.filter(pk=pipeline.pk).update(completed_at=ended, error_message=error)
    job.refresh_from_db()
    return made


def pipeline(
    name: str, *stages: StageSpec, root: Path, start: bool = True, work: bool = True, **fields: Any
) -> Pipeline:
    """A pipeline made by the service. With `work` its short stages are done here, as a worker would."""
    begun_once()
    Host.objects.filter(name="local").update(root=str(root))
    made = create_pipeline(user=person(), spec=PipelineSpec(name=name, stages=stages, **fields), start=start)
    if work:
        do_work()
    made.refresh_from_db()
    return made


def noop(name: str, *after: str, result: Any = None) -> StageSpec:
    return StageSpec(name, "noop", {} if result is None else {"result": result}, depends_on=after)


LOST_LOOK_UP = "{{ stages.first.result.missing }}"
"""As a result: a stage that fails."""


def do_work() -> None:
    """What dispatcher and workers do, until no short stage is left to do."""
    while True:
        dispatch.dispatch()
        ready = Attempt.objects.filter(outcome="", stage__status="starting", stage__kind="noop")
        found = list(ready.values_list("pk", flat=True))
        if not found:
            return
        for attempt_id in found:
            launch.launch(attempt_id, worker="worker-1")
