"""Every action in every status, over the API: what the status does not allow is a 409 and changes nothing."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from environments.models import Host
from pipelines.models import Attempt, Pipeline, Stage, Transition
from pipelines.states import PipelineStatus, StageStatus
from tests.people import program

from . import builders

pytestmark = pytest.mark.django_db(transaction=True)

S, P = StageStatus, PipelineStatus

PIPELINE_ALLOWS = {
    "start": {P.PENDING},
    "pause": {P.RUNNING},
    "resume": {P.PAUSED},
    "cancel": {P.PENDING, P.RUNNING, P.PAUSED},
    "retry": {P.FAILED, P.CANCELLED},
    "delete": {P.PENDING, P.COMPLETED, P.FAILED, P.CANCELLED},
}
STAGE_OF = {
    P.PENDING: S.PENDING,
    P.RUNNING: S.QUEUED,
    P.PAUSED: S.QUEUED,
    P.COMPLETED: S.COMPLETED,
    P.FAILED: S.FAILED,
    P.CANCELLED: S.CANCELLED,
}
PIPELINE_OF = {
    S.PENDING: P.PENDING,
    S.COMPLETED: P.COMPLETED,
    S.FAILED: P.FAILED,
    S.CANCELLED: P.CANCELLED,
    S.SKIPPED: P.FAILED,
}
# To ask twice for the same end is no mistake.
STAGE_ALLOWS = {
    "cancel": {S.PENDING, S.QUEUED, S.STARTING, S.RUNNING, S.CANCELLING, S.CANCELLED},
    "retry": {S.FAILED, S.CANCELLED},
}
TASK_ALLOWS = {
    "cancel": {S.QUEUED, S.STARTING, S.RUNNING, S.CANCELLING},
    "retry": {S.FAILED, S.CANCELLED},
}
HAVE_TASKS = [status for status in S if status not in (S.PENDING, S.SKIPPED)]


@pytest.fixture
def client(machine: Host) -> APIClient:
    return program(builders.person(), "operate")


def books() -> list[list[dict[str, Any]]]:
    return [list(model.objects.order_by("pk").values()) for model in (Pipeline, Stage, Attempt, Transition)]


def noop(status: StageStatus) -> Stage:
    pipeline = builders.pipeline(PIPELINE_OF.get(status, P.RUNNING))
    return builders.stage(status, of=pipeline, kind="noop", queue="default")


def assert_answer(answer: Any, allowed: bool, before: list[list[dict[str, Any]]], ok: int = 202) -> None:
    if allowed:
        assert answer.status_code == ok, answer.content
        return
    assert answer.status_code == 409, answer.content
    assert answer.json()["error"]["code"] == "conflict"
    assert books() == before


@pytest.mark.parametrize("status", list(P))
@pytest.mark.parametrize("action", list(PIPELINE_ALLOWS))
def test_a_pipeline(client: APIClient, action: str, status: PipelineStatus) -> None:
    pipeline = builders.pipeline(status)
    builders.stage(STAGE_OF[status], of=pipeline, kind="noop", queue="default")
    before, path = books(), f"/api/v1/pipelines/{pipeline.pk}/"

    answer = client.delete(path) if action == "delete" else client.post(f"{path}{action}/")

    assert_answer(answer, status in PIPELINE_ALLOWS[action], before, 204 if action == "delete" else 202)


@pytest.mark.parametrize("status", list(S))
@pytest.mark.parametrize("action", list(STAGE_ALLOWS))
def test_a_stage(client: APIClient, action: str, status: StageStatus) -> None:
    stage = noop(status)
    before = books()

    answer = client.post(f"/api/v1/pipelines/{stage.pipeline_id}/stages/{stage.name}/{action}/")

    assert_answer(answer, status in STAGE_ALLOWS[action], before)


@pytest.mark.parametrize("status", HAVE_TASKS)
@pytest.mark.parametrize("action", list(TASK_ALLOWS))
def test_a_task(client: APIClient, action: str, status: StageStatus) -> None:
    stage = noop(status)
    before, task = books(), Attempt.objects.get(stage=stage)

    answer = client.post(f"/api/v1/tasks/{task.pk}/{action}/")

    assert_answer(answer, status in TASK_ALLOWS[action], before)


def test_a_pipeline_that_never_started_ends_when_its_last_stage_is_cancelled(client: APIClient) -> None:
    stage = noop(S.PENDING)

    assert client.post(f"/api/v1/pipelines/{stage.pipeline_id}/stages/{stage.name}/cancel/").status_code == 202

    stage.pipeline.refresh_from_db()
    assert stage.pipeline.status == P.CANCELLED
    assert stage.pipeline.completed_at is not None
