"""The form that makes and copies pipelines."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from pipelines.models import Pipeline
from pipelines.pipeline_form import MOST_ROWS
from pipelines.services.builtin import install
from tests.browser import world

from .looks import text

pytestmark = pytest.mark.django_db


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Mine", "priority": "5", "max_retries": "0", "row": ["0", "1"],
        "stage-0-name": "first", "stage-0-kind": "noop", "stage-0-params": "result.rows = 3",
        "stage-1-name": "second", "stage-1-kind": "noop", "stage-1-after": "0", "stage-1-timeout_s": "60", **changes,
    }  # fmt: skip


@pytest.mark.parametrize(("do", "status"), [("save", "pending"), ("start", "running")])
def test_a_pipeline_is_made_as_the_form_says(alice: Client, do: str, status: str) -> None:
    install()
    answer = alice.post("/pipelines/create/", fields(do=do))
    made = Pipeline.objects.get()
    assert answer["Location"] == f"/pipelines/{made.pk}/"
    assert (made.name, made.status) == ("Mine", status)
    first, second = made.stages.order_by("order")
    assert first.params == {"result": {"rows": 3}}
    assert list(second.depends_on.all()) == [first]
    assert second.timeout_s == 60


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"stage-0-after": "1"}, "stage-0-after-errors", "wait for each other"),
        ({"stage-1-name": "first"}, "stage-1-name-errors", "Another stage has this name."),
        ({"stage-1-name": "Not good"}, "stage-1-name-errors", "Small letters"),
        ({"stage-1-name": ""}, "stage-1-name-errors", "Give the stage a name."),
        ({"stage-0-params": "rows = 3"}, "stage-0-params-errors", "rows: A no-op takes"),
        ({"stage-0-params": "{"}, "stage-0-params-errors", "no JSON object"),
        ({"stage-0-params": "result = {{ stages.second.result.x }}"}, "stage-0-params-errors", "depends on"),
        ({"stage-0-kind": "nothing"}, "stage-0-kind-errors", "no such kind"),
        ({"stage-0-kind": "train_model"}, "stage-0-params-errors", "recipe"),
        ({"stage-1-timeout_s": "soon"}, "stage-1-timeout_s-errors", "whole number"),
        ({"name": ""}, "name-errors", "Give the pipeline a name."),
        ({"priority": "99"}, "priority-errors", "from 1 to 10"),
    ],
)  # fmt: skip
def test_a_refused_pipeline_says_why_at_the_field_and_makes_nothing(
    alice: Client, changes: dict[str, Any], field: str, told: str
) -> None:
    install()
    answer = alice.post("/pipelines/create/", fields(description="kept", **changes))
    html = answer.content.decode()
    assert answer.status_code == 422
    at = html.split(f'id="{field}"', 1)[1].split("</div>", 1)[0]
    assert told in at
    assert 'value="kept"' in html
    assert 'aria-invalid="true"' in html
    assert not Pipeline.objects.exists()


def test_without_any_stage_it_is_refused(alice: Client) -> None:
    install()
    answer = alice.post("/pipelines/create/", {"name": "x", "priority": "5"})
    assert answer.status_code == 422
    assert "at least one stage" in answer.content.decode()


def test_stages_are_added_and_removed_without_a_script(alice: Client) -> None:
    install()
    html = alice.post("/pipelines/create/", fields(add="1")).content.decode()
    assert html.count("data-stage>") == 3
    assert 'id="stage-2-name"' in html
    html = alice.post("/pipelines/create/", fields(remove="0")).content.decode()
    assert html.count("data-stage>") == 1
    assert 'value="second"' in html
    assert not Pipeline.objects.exists()


def test_the_preview_tells_of_a_cycle_and_not_of_what_is_still_empty(alice: Client) -> None:
    install()
    html = alice.post("/pipelines/create/preview/", fields(**{"stage-0-after": "1", "name": ""})).content.decode()
    assert "wait for each other: first → second → first" in html
    assert 'class="broken"' in html
    assert "Give the pipeline a name" not in html
    blank = {"row": "0", "stage-0-kind": "train_model", "priority": "5"}
    html = alice.post("/pipelines/create/preview/", blank).content.decode()
    assert 'class="error"' not in html
    assert "Not ready yet" in html


def rows(many: int) -> dict[str, Any]:
    """The form as a browser sends it, each stage after all before it."""
    sent: dict[str, Any] = {"name": "Dense", "priority": "5", "max_retries": "0", "description": ""}
    for n in range(many):
        own = {"name": f"s{n}", "kind": "noop", "params": "", "queue": "", "timeout_s": "", "max_retries": "0"}
        sent |= {f"stage-{n}-{name}": value for name, value in own.items()}
        sent[f"stage-{n}-after"] = [str(other) for other in range(n)]
    return sent | {"row": [str(n) for n in range(many)]}


def test_the_form_takes_sixty_stages_and_says_what_to_do_with_more(alice: Client, wide: Pipeline) -> None:
    made = alice.post("/pipelines/create/", rows(MOST_ROWS) | {"do": "save"})
    assert made.status_code == 302
    assert Pipeline.objects.get(name="Dense").stages.count() == MOST_ROWS
    told = "This form takes at most 60 stages. Larger pipelines, up to 500, are made over the API."
    full = alice.post("/pipelines/create/", rows(MOST_ROWS - 1) | {"add": "1"}).content.decode()
    assert full.count("data-stage>") == MOST_ROWS
    assert told in full
    more = alice.post("/pipelines/create/", rows(MOST_ROWS) | {"add": "1"}).content.decode()
    assert more.count("data-stage>") == MOST_ROWS
    refused = alice.post("/pipelines/create/", rows(MOST_ROWS + 1) | {"do": "save"})
    assert refused.status_code == 422
    assert told in refused.content.decode()
    assert Pipeline.objects.filter(name="Dense").count() == 1
    copied = alice.get(f"/pipelines/create/?from={wide.pk}", follow=True)
    assert copied.redirect_chain[-1][0] == f"/pipelines/{wide.pk}/"
    assert told in copied.content.decode()


def test_a_copy_starts_from_what_is_there(alice: Client, broken: Pipeline) -> None:
    html = text(alice, f"/pipelines/create/?from={broken.pk}")
    assert html.count("data-stage>") == 3
    assert 'value="Broken"' in html
    assert "Can be started" in html
    assert text(alice, "/pipelines/create/?from=nonsense").count("data-stage>") == 1


def test_a_viewer_makes_and_changes_nothing(vera: Client, broken: Pipeline) -> None:
    assert 'href="/pipelines/create/' not in text(vera, "/pipelines/")
    assert vera.post("/pipelines/create/", fields()).status_code == 403
    assert vera.post(f"/pipelines/{broken.pk}/retry/").status_code == 403


def test_training_stages_lead_to_their_curves(alice: Client, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=3)
    stage = run.job.stage
    assert f"/jobs/{stage.pk}/" in text(alice, f"/pipelines/{stage.pipeline_id}/")
    assert f"/pipelines/{stage.pipeline_id}/" in text(alice, f"/jobs/{stage.pk}/")
