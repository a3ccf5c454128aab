"""A stage that is tried again with other parameters: they are taken, or refused, as those of a new stage are."""

from typing import Any

import pytest

from environments.models import Host
from pipelines.models import Pipeline, Stage
from pipelines.services.cancel import cancel_stage
from pipelines.services.control import retry_stage
from pipelines.states import PipelineStatus, StageStatus
from tests.people import program

from . import builders
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)


def failed(**params: Any) -> Stage:
    """A failed stage between one above, with a result, and one below; beside them one that it does not need."""
    pipeline: Pipeline = builders.pipeline(PipelineStatus.FAILED)
    noop: dict[str, Any] = {"of": pipeline, "kind": "noop", "queue": "default"}
    above = builders.stage(StageStatus.COMPLETED, name="above", result={"rows": 7}, **noop)
    builders.stage(StageStatus.COMPLETED, name="beside", order=1, result={"rows": 8}, **noop)
    stage = builders.stage(StageStatus.FAILED, name="breaks", order=2, needs=(above,), params=params, **noop)
    builders.stage(StageStatus.SKIPPED, name="below", order=3, needs=(stage,), **noop)
    return stage


REFUSED = {
    "unknown": ("{{ stages.nobody.result.rows }}", "Stage nobody is not one that this stage depends on."),
    "beside": ("{{ stages.beside.result.rows }}", "Stage beside is not one that this stage depends on."),
    "below": ("{{ stages.below.result.rows }}", "Stage below is not one that this stage depends on."),
    "itself": ("{{ stages.breaks.result.rows }}", "Stage breaks is not one that this stage depends on."),
    "malformed": ("{{ 1 + 1 }}", "Only {{ stages.NAME.result.KEY }} can stand in double braces."),
    "open": ("{{ stages.above", "Only {{ stages.NAME.result.KEY }} can stand in double braces."),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_a_reference_that_a_new_stage_could_not_have_is_refused(machine: Host, text: str, says: str) -> None:
    stage = failed(result={"seen": 1})
    client = program(builders.person(), "operate")
    path = f"/api/v1/pipelines/{stage.pipeline_id}/stages/breaks/retry/"

    answer = client.post(path, {"params": {"result": {"seen": text}}}, format="json")

    assert answer.status_code == 422, answer.content
    assert answer.json()["error"]["fields"] == {"params.result.seen": [says]}
    stage.refresh_from_db()
    assert (stage.status, stage.params) == ("failed", {"result": {"seen": 1}})


def test_a_reference_to_a_stage_above_is_taken(machine: Host) -> None:
    stage = failed(result={"seen": 1})
    wanted = {"result": {"seen": "{{ stages.above.result.rows }}"}}
    retry_stage(stage, user=builders.person(), params=wanted)
    stage.refresh_from_db()
    assert (stage.status, stage.params) == ("queued", wanted)


def test_the_host_in_the_new_params_is_where_it_runs(hands: Hands) -> None:
    """And an empty one means any host."""
    user = builders.person()
    full = builders.host("full", root="/nowhere", slots=0)
    stage = hands.script("raise SystemExit(1)")
    hands.launch(stage)
    hands.until(stage)

    retry_stage(stage, user=user, params={"host": "full"})
    stage.refresh_from_db()
    assert (stage.status, stage.host) == ("queued", full)

    cancel_stage(stage.pk, user=user)
    retry_stage(stage, user=user, params={"host": None, "script": "pass"})
    stage.refresh_from_db()
    assert stage.host is None
    assert hands.launch(stage).host == hands.host
    assert hands.until(stage) == "completed"


def test_a_host_that_is_not_there_is_refused(machine: Host) -> None:
    stage = builders.stage(StageStatus.FAILED, kind="script", name="breaks", params={"script": "pass"})
    client = program(builders.person(), "operate")
    path = f"/api/v1/pipelines/{stage.pipeline_id}/stages/breaks/retry/"
    answer = client.post(path, {"params": {"host": "nowhere"}}, format="json")
    assert answer.status_code == 422, answer.content
    assert "params.host" in answer.json()["error"]["fields"]
