"""Runs with metrics that are scripts: each line is written as a trainer would write it."""

from typing import Any

from environments.transports import Transport
from monitoring.models import Stream
from monitoring.services.sync import SyncResult, open_segment, sync_stream
from pipelines.folders import run_folder
from pipelines.kinds import registry
from pipelines.models import Attempt, Job, Recipe, RecipeRevision, Stage
from platform_runtime.contract import Command

from . import builders
from .conftest import Hands, ScriptKind

STEPS = """
import json, os, sys, time
def step(n, **metrics):
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps({"v": 1, "step": n, "time": time.time(), "metrics": metrics}) + "\\n")
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
"""


class WatchedKind(ScriptKind):
    """`params["script"]`, with `step(n, **metrics)` at hand."""

    name = "watched"
    has_stream = True

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        folder = run_folder(attempt)
        open_segment(stage.id, attempt=attempt.number, path=folder.metrics, resumed_from=attempt.resumed_from_step)
        command = super().prepare(stage, {"script": STEPS + params["script"]}, attempt, transport)
        return Command(**{**vars(command), "argv": [*command.argv, folder.metrics]})

    def observe(self, stage: Stage, attempt: Attempt, transport: Transport) -> SyncResult:
        return sync_stream(stage.id, transport, stage.job.stream.segments.all())


registry.register(WatchedKind())


def watched(hands: Hands, script: str, *, policy: str = "stop", algorithm: str = "grpo", **fields: Any) -> Stage:
    """A queued stage of a running pipeline, with job and stream."""
    stage = hands.script("", **fields)
    Stage.objects.filter(pk=stage.pk).update(kind="watched", params={"script": script, "grace": 1.0})
    give_job(stage, policy=policy, algorithm=algorithm)
    stage.refresh_from_db()
    return stage


def give_job(stage: Stage, *, policy: str = "stop", algorithm: str = "grpo") -> Job:
    """Make a training of a stage: its job and stream."""
    project = builders.project()
    recipe, _ = Recipe.objects.update_or_create(
        slug="watched", defaults={"project": project, "name": "Watched", "algorithm": algorithm, "on_critical": policy}
    )
    revision, _ = RecipeRevision.objects.get_or_create(recipe=recipe, number=1, defaults={"base_model": "m"})
    stream = Stream.objects.create(id=stage.id, project=project, algorithm=algorithm, trainer="verl")
    return Job.objects.create(
        id=stage.id, stage=stage, stream=stream, project=project, name="Watched", recipe_revision=revision
    )
