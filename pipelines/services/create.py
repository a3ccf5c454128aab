"""Make a pipeline of stages: checked whole, made whole, or not at all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext as _

from pipelines import graph
from pipelines.kinds import kind_of, names
from pipelines.models import Pipeline, Stage
from pipelines.services import find
from pipelines.services.control import start_pipeline
from pipelines.services.params import param_problems
from platform_site.common import audit
from platform_site.common.errors import Invalid
from platform_site.common.models import Project, User
from platform_site.common.queues import STAGE_QUEUES
from platform_site.common.selectors import projects_for

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MOST_STAGES: Final = 500
MOST_EDGES: Final = 10_000
"""With 60,000 of them each move of the pipeline held the database for seconds."""


@dataclass(frozen=True)
class StageSpec:
    """One stage as people write it. `queue` empty: the kind's own. `timeout_s` in seconds, None for no limit."""

    name: str
    task: str
    params: dict[str, Any] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    queue: str = ""
    timeout_s: int | None = None
    max_retries: int = 0


@dataclass(frozen=True)
class PipelineSpec:
    name: str
    stages: Sequence[StageSpec]
    description: str = ""
    priority: int = 5
    max_retries: int = 0


def create_pipeline(*, user: User, spec: PipelineSpec, start: bool = False) -> Pipeline:
    """The pipeline, with `start` already on its way.

    Raises Invalid with every problem at its field, `stages.2.params.recipe`; nothing is left behind then.
    """
    fields = problems(user, spec)
    if fields:
        where, told = next(iter(fields.items()))
        raise Invalid(f"{where}: {told}", fields, code="invalid_pipeline")
    with transaction.atomic():
        pipeline = build(user, spec)
        audit.record("pipeline.create", user, pipeline, name=spec.name, stages=len(spec.stages))
        if start:
            start_pipeline(pipeline.pk, user=user)
    return pipeline


def problems(user: User, spec: PipelineSpec) -> dict[str, str]:
    """What keeps the pipeline from being made, by dotted field. Keeps nothing."""
    if not spec.stages:
        return {"stages": _("A pipeline needs at least one stage.")}
    if len(spec.stages) > MOST_STAGES:
        told = _("A pipeline has at most %(most)s stages; this one has %(count)s. Make several pipelines of it.")
        return {"stages": told % {"most": MOST_STAGES, "count": len(spec.stages)}}
    edges = sum(len(stage.depends_on) for stage in spec.stages)
    if edges > MOST_EDGES:
        told = _(
            "The stages of a pipeline may need each other %(most)s times at most; here it is %(count)s. Put a stage "
            "that does nothing between two groups of which each needs all of the other."
        )
        return {"stages": told % {"most": MOST_EDGES, "count": edges}}
    found = _graph_problems(spec.stages)
    # Who stands above whom can be told of a sound graph alone.
    above = None if found else graph.Above(_nodes(spec.stages))
    task_of = {stage.name: stage.task for stage in spec.stages}
    for index, stage in enumerate(spec.stages):
        here = f"stages.{index}"
        if not NAME.fullmatch(stage.name):
            found[f"{here}.name"] = _("Small letters, digits, - and _, beginning with a letter or digit, at most 63.")
        if stage.queue and stage.queue not in STAGE_QUEUES:
            found[f"{here}.queue"] = _("There are: %(known)s.") % {"known": ", ".join(STAGE_QUEUES)}
        if stage.task not in names():
            found[f"{here}.task"] = _("There is no such kind of stage. There are: %(known)s.") % {
                "known": ", ".join(names())
            }
            continue
        needed = None if above is None else {name: task_of[name] for name in above.of(stage.name)}
        wrong = param_problems(user, stage.task, stage.params, needed)
        found |= {f"{here}.{name}": told for name, told in wrong.items()}
    return found


def _nodes(stages: Sequence[StageSpec]) -> list[graph.Node]:
    return [graph.Node(stage.name, stage.depends_on) for stage in stages]


def _graph_problems(stages: Sequence[StageSpec]) -> dict[str, str]:
    index = {stage.name: position for position, stage in reversed(list(enumerate(stages)))}
    found: dict[str, str] = {}
    for fault in graph.faults(_nodes(stages)):
        here = f"stages.{index[fault.node]}"
        match fault.kind:
            case "duplicate":
                last = max(position for position, stage in enumerate(stages) if stage.name == fault.node)
                found[f"stages.{last}.name"] = _("Another stage has this name.")
            case "unknown":
                found[f"{here}.depends_on"] = _("There is no stage %(name)s.") % {"name": fault.names[0]}
            case "self":
                found[f"{here}.depends_on"] = _("A stage cannot depend on itself.")
            case _:
                found[f"{here}.depends_on"] = _("These stages wait for each other: %(names)s.") % {
                    "names": " → ".join(fault.names)
                }
    return found


def build(user: User, spec: PipelineSpec) -> Pipeline:
    """The rows of a pipeline that is known to be sound. To be called in a transaction."""
    pipeline = Pipeline.objects.create(
        project=_project(user),
        name=spec.name,
        description=spec.description,
        priority=spec.priority,
        max_retries=spec.max_retries,
        created_by=user,
    )
    position = {name: at for at, name in enumerate(graph.order(_nodes(spec.stages)))}
    wanted = sorted(spec.stages, key=lambda stage: position[stage.name])
    made = {
        stage.name: Stage(
            pipeline=pipeline,
            name=stage.name,
            order=position[stage.name],
            kind=stage.task,
            params=stage.params,
            queue=stage.queue or kind_of(stage.task).queue,
            priority=spec.priority,
            host=find.host(user, stage.params.get("host")),
            timeout_s=stage.timeout_s,
            max_retries=stage.max_retries,
        )
        for stage in wanted
    }
    Stage.objects.bulk_create(made.values())
    through = Stage.depends_on.through
    through.objects.bulk_create(
        through(from_stage=made[stage.name], to_stage=made[name])
        for stage in wanted
        for name in dict.fromkeys(stage.depends_on)
    )
    for stage in made.values():
        kind_of(stage.kind).attach(stage, user)
    return pipeline


def _project(user: User) -> Project:
    found = projects_for(user).order_by("pk").first()
    if found is None:
        raise Invalid(_("You have no project."))
    return found
