"""Builders for what pipeline tests stand on."""

import secrets
from typing import Any

from environments.models import Host
from pipelines.models import Attempt, Pipeline, Queue, Stage
from pipelines.states import Outcome, PipelineStatus, StageStatus
from platform_site.common.models import Project, User
from platform_site.common.queues import PRIORITY
from platform_site.common.roles import Role
from tests import people


def project() -> Project:
    return Project.objects.get_or_create(slug="default", defaults={"name": "Default"})[0]


def queues(slots: int = 1) -> None:
    for name, priority in PRIORITY.items():
        Queue.objects.update_or_create(name=name, defaults={"priority": priority, "slots": slots})


def host(name: str = "local", **fields: Any) -> Host:
    defaults = {"project": project(), "root": "/nowhere", "slots": 10, **fields}
    return Host.objects.get_or_create(name=name, defaults=defaults)[0]


def pipeline(status: PipelineStatus = PipelineStatus.RUNNING, **fields: Any) -> Pipeline:
    return Pipeline.objects.create(project=project(), name=fields.pop("name", "a pipeline"), status=status, **fields)


def stage(
    status: StageStatus = StageStatus.PENDING,
    *,
    of: Pipeline | None = None,
    name: str = "train",
    needs: tuple[Stage, ...] = (),
    **fields: Any,
) -> Stage:
    """A stage in the given status, with the open (or closed) attempt that such a stage has."""
    defaults: dict[str, Any] = {"kind": "train_model", "queue": "training", "host": None}
    made = Stage.objects.create(pipeline=of or pipeline(), name=name, status=status, **{**defaults, **fields})
    made.depends_on.set(needs)
    if status is not StageStatus.PENDING and status is not StageStatus.SKIPPED:
        outcome = {
            StageStatus.COMPLETED: Outcome.SUCCEEDED,
            StageStatus.FAILED: Outcome.FAILED,
            StageStatus.CANCELLED: Outcome.CANCELLED,
        }.get(status, "")
        Attempt.objects.create(stage=made, number=1, launch_token=secrets.token_hex(8), outcome=outcome)
    return made


def person(name: str = "bob") -> User:
    """An operator."""
    found = User.objects.filter(username=name).first()
    return found or people.person(name, Role.OPERATOR)
