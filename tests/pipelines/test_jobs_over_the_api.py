"""Runs over REST, to the letter of the contract: shapes, lists, errors, and nothing half-made."""

import sys
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from environments.models import Host
from pipelines.models import Attempt, Job, Pipeline, Stage
from pipelines.services.builtin import install
from pipelines.services.submit import submit_job
from platform_site.common.models import User
from tests.people import alice, bob, program

pytestmark = pytest.mark.django_db(transaction=True)

JOB_FIELDS = {
    "uuid", "name", "status", "recipe", "recipe_revision", "dataset_version", "host", "config", "command", "attempts",
    "started_at", "completed_at", "duration_s", "target_step", "last_step", "final_metrics", "final_step",
    "metrics_last_offset", "has_anomaly", "anomaly_type", "anomaly_message", "health_score", "error_message",
    "checkpoints", "pipeline", "stage",
}  # fmt: skip
PIPELINE_FIELDS = {
    "uuid", "name", "description", "project", "status", "priority", "max_retries", "retry_count", "progress", "eta_s",
    "stages_completed", "stages_total", "schedule", "version", "created_at", "started_at", "completed_at", "duration_s",
    "error_message",
}  # fmt: skip
STAGE_FIELDS = {
    "uuid", "name", "order", "task", "status", "queue", "depends_on", "task_id", "attempt", "progress", "eta_s",
    "waiting_for", "result", "error_message", "created_at", "started_at", "completed_at", "duration_s", "job",
}  # fmt: skip
TASK_FIELDS = {
    "id", "pipeline", "stage", "task", "queue", "state", "worker", "host", "attempt", "enqueued_at", "started_at",
    "completed_at", "duration_s", "error_message",
}  # fmt: skip


@pytest.fixture
def operator(db: None) -> User:
    install()
    Host.objects.update(python=sys.executable)
    user: User = bob()
    return user


@pytest.fixture
def client(operator: User) -> APIClient:
    return program(operator, "operate")


def made() -> tuple[int, int, int, int]:
    return Pipeline.objects.count(), Stage.objects.count(), Job.objects.count(), Attempt.objects.count()


def test_a_new_run_is_a_queued_pipeline_of_one_stage(client: APIClient) -> None:
    answer = client.post("/api/v1/jobs/", {"recipe": "tiny-sft", "overrides": {"optim.lr": 0.002}}, format="json")

    assert answer.status_code == 201, answer.content
    job = answer.json()
    assert set(job) >= JOB_FIELDS
    assert (job["status"], job["recipe"], job["recipe_revision"]) == ("queued", "tiny-sft", 1)
    assert job["dataset_version"] == "arithmetic@1"
    assert [attempt["number"] for attempt in job["attempts"]] == [1]
    assert set(job["attempts"][0]) >= {
        "number", "host", "started_at", "completed_at", "exit_code", "outcome", "reason", "resumed_from_step",
    }  # fmt: skip
    assert made() == (1, 1, 1, 1)

    pipeline = client.get(f"/api/v1/pipelines/{job['pipeline']}/status/").json()
    assert set(pipeline) >= PIPELINE_FIELDS | {"stages"}
    assert (pipeline["status"], pipeline["stages_total"], pipeline["stages_completed"]) == ("running", 1, 0)
    stage = pipeline["stages"][0]
    assert set(stage) >= STAGE_FIELDS
    assert (stage["name"], stage["task"], stage["queue"], stage["job"]) == (
        "train",
        "train_model",
        "training",
        job["uuid"],
    )

    task = client.get(f"/api/v1/tasks/{stage['task_id']}/").json()
    assert set(task) >= TASK_FIELDS
    assert (task["state"], task["attempt"]) == ("queued", 1)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "recipe"),
        ({"recipe": "tiny-sft", "recepie": "x"}, 400, "recepie"),
        ({"recipe": "tiny-sft", "overrides": []}, 400, "overrides"),
        ({"recipe": "no-such"}, 422, "recipe"),
        ({"recipe": "tiny-sft@99"}, 422, "recipe"),
        ({"recipe": "tiny-sft@x"}, 422, "recipe"),
        ({"recipe": "tiny-sft", "dataset": "no-such"}, 422, "dataset"),
        ({"recipe": "tiny-sft", "host": "no-such"}, 422, "host"),
        ({"recipe": "tiny-sft", "overrides": {"optim.lrr": 1}}, 422, "overrides.optim.lrr"),
        ({"recipe": "tiny-sft", "overrides": {"optim.lr": "fast"}}, 422, "overrides.optim.lr"),
        ({"recipe": "tiny-sft", "overrides": {"+optim.lr": 1}}, 422, "overrides.+optim.lr"),
        ({"recipe": "tiny-sft", "overrides": {"hydra.run.dir": "x"}}, 422, "overrides.hydra.run.dir"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    client: APIClient, body: dict[str, Any], status: int, field: str
) -> None:
    answer = client.post("/api/v1/jobs/", body, format="json")

    assert answer.status_code == status, answer.content
    error = answer.json()["error"]
    assert set(error) >= {"code", "message", "fields"}
    assert field in error["fields"], error
    assert made() == (0, 0, 0, 0)


def test_an_unknown_key_is_answered_with_the_nearest_real_one(client: APIClient) -> None:
    body = {"recipe": "tiny-sft", "overrides": {"optim.lr_warmup_step": 1}}
    error = client.post("/api/v1/jobs/", body, format="json").json()["error"]
    assert "optim.lr_warmup_steps" in error["message"]


def test_without_a_training_environment_the_request_says_so(client: APIClient) -> None:
    Host.objects.update(python="/nowhere/python")
    answer = client.post("/api/v1/jobs/", {"recipe": "tiny-sft"}, format="json")
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "environment_missing"
    assert "/nowhere/python is not an executable Python" in answer.json()["error"]["message"]
    assert made() == (0, 0, 0, 0)


def test_the_same_idempotency_key_starts_one_run(client: APIClient) -> None:
    answers = [
        client.post("/api/v1/jobs/", {"recipe": "tiny-sft"}, format="json", HTTP_IDEMPOTENCY_KEY="once")
        for _again in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["uuid"] == answers[1].json()["uuid"]
    assert made() == (1, 1, 1, 1)
    other = client.post(
        "/api/v1/jobs/", {"recipe": "tiny-sft", "name": "x"}, format="json", HTTP_IDEMPOTENCY_KEY="once"
    )
    assert other.status_code == 422


def test_cancel_and_rerun(client: APIClient) -> None:
    job = client.post("/api/v1/jobs/", {"recipe": "tiny-sft", "overrides": {"optim.lr": 0.002}}, format="json").json()

    cancelled = client.post(f"/api/v1/jobs/{job['uuid']}/cancel/")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    pipeline = client.get(f"/api/v1/pipelines/{job['pipeline']}/").json()
    assert pipeline["status"] == "cancelled"

    again = client.post(f"/api/v1/jobs/{job['uuid']}/rerun/", {"overrides": {"optim.lr": None}}, format="json")
    assert again.status_code == 201
    assert again.json()["overrides"] == {}
    assert again.json()["recipe_revision"] == job["recipe_revision"]


def test_lists_filter_search_and_page(client: APIClient, operator: User) -> None:
    for number in range(3):
        submit_job(user=operator, recipe="tiny-sft", name=f"run {number}")
    listed = client.get("/api/v1/jobs/?limit=2").json()
    assert (listed["count"], len(listed["results"])) == (3, 2)
    assert client.get("/api/v1/jobs?status=QUEUED").json()["count"] == 3
    assert client.get("/api/v1/jobs/?status=failed").json()["count"] == 0
    assert client.get("/api/v1/jobs/?recipe=tiny-sft&search=run 1").json()["count"] == 1
    assert client.get("/api/v1/jobs/?status=nonsense").status_code == 400
    assert client.get("/api/v1/pipelines/?status=running").json()["count"] == 3
    assert client.get("/api/v1/tasks/?state=queued&queue=training").json()["count"] == 3


@pytest.mark.parametrize("path", ["jobs/", "pipelines/", "tasks/", "tasks/stats/overview/"])
def test_a_longer_list_asks_no_more_of_the_database(client: APIClient, operator: User, path: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert client.get(f"/api/v1/{path}").status_code == 200
        return len(asked)

    submit_job(user=operator, recipe="tiny-sft")
    queries()  # the first request of a token also notes when it was used
    few = queries()
    for _number in range(10):
        submit_job(user=operator, recipe="tiny-sft")
    assert queries() == few


def test_the_overview_counts_what_runs_and_waits(client: APIClient, operator: User) -> None:
    submit_job(user=operator, recipe="tiny-sft")
    told = client.get("/api/v1/tasks/stats/overview/").json()
    assert set(told) == {"running", "pending", "completed_today", "failed_today", "workers", "queues"}
    assert (told["running"], told["pending"]) == (0, 1)
    assert [queue["name"] for queue in told["queues"]] == [
        "training", "evaluation", "preprocessing", "default", "maintenance",
    ]  # fmt: skip
    assert set(told["queues"][0]) == {"name", "priority", "pending", "running", "capacity"}


def test_a_viewer_may_look_and_no_more(client: APIClient, operator: User) -> None:
    job = submit_job(user=operator, recipe="tiny-sft")
    viewer = program(alice(), "read")
    assert viewer.get(f"/api/v1/jobs/{job.id}/").status_code == 200
    assert viewer.post("/api/v1/jobs/", {"recipe": "tiny-sft"}, format="json").status_code == 403
    assert viewer.post(f"/api/v1/jobs/{job.id}/cancel/").status_code == 403


def test_what_is_not_there_is_404(client: APIClient) -> None:
    nobody = uuid.uuid4()
    for path in (f"jobs/{nobody}/", f"pipelines/{nobody}/", f"pipelines/{nobody}/stages/x/log/", f"tasks/{nobody}/"):
        answer = client.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_syncing_a_run_that_has_not_started_is_a_conflict(client: APIClient, operator: User) -> None:
    job = submit_job(user=operator, recipe="tiny-sft")
    answer = client.post(f"/api/v1/monitoring/{job.id}/metrics/sync/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
