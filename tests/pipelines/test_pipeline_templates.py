"""Pipelines to start from: each can be posted as it is, opened in the editor, and posted again at once."""

import sys
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from environments.models import Host
from pipelines.models import Pipeline, Stage
from pipelines.pipeline_form import PipelineForm
from pipelines.pipeline_templates import TEMPLATES, PipelineTemplate
from pipelines.services import builtin
from pipelines.services.create import problems
from platform_site.common.paths import slug
from tests.people import browser, program

from . import builders
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)
ADDRESS = "/api/v1/pipeline-templates/"

each = pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.slug)


@pytest.fixture
def client(hands: Hands) -> APIClient:
    builtin.install()
    Host.objects.update(python=sys.executable)
    found: APIClient = program(builders.person(), "operate")
    return found


@pytest.fixture
def page(client: APIClient) -> Client:
    found: Client = browser(builders.person())
    return found


def listed(client: APIClient) -> list[dict[str, Any]]:
    answer = client.get(ADDRESS)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_the_list_is_a_page_of_all_there_are(client: APIClient) -> None:
    told = client.get(ADDRESS).json()
    assert (told["count"], told["next"], told["previous"]) == (len(TEMPLATES), None, None)
    assert [one["slug"] for one in told["results"]] == [one.slug for one in TEMPLATES]
    for one in told["results"]:
        assert set(one) == {"slug", "name", "description", "stages"}
        assert slug(one["slug"], field="slug") == one["slug"]


def test_the_list_is_searched_ordered_and_cut_as_all_lists_are(client: APIClient) -> None:
    assert [one["slug"] for one in client.get(f"{ADDRESS}?search=TINY sft").json()["results"]] == ["tiny-sft-pipeline"]
    assert client.get(f"{ADDRESS}?search=nothing-of-that-name").json()["count"] == 0
    backwards = [one["slug"] for one in client.get(f"{ADDRESS}?ordering=-slug").json()["results"]]
    assert backwards == sorted((one.slug for one in TEMPLATES), reverse=True)
    assert len(client.get(f"{ADDRESS}?limit=1").json()["results"]) == 1
    for query in ("ordering=stages", "limit=x", "colour=red"):
        assert client.get(f"{ADDRESS}?{query}").status_code == 400, query


@each
def test_its_stages_can_be_posted_as_they_are(client: APIClient, template: PipelineTemplate) -> None:
    told = next(one for one in listed(client) if one["slug"] == template.slug)
    answer = client.post("/api/v1/pipelines/", {"name": "posted", "stages": told["stages"]}, format="json")
    assert answer.status_code == 201, answer.content
    made = Pipeline.objects.get(pk=answer.json()["uuid"])
    assert {(stage.name, stage.kind) for stage in made.stages.all()} == {
        (stage["name"], stage["task"]) for stage in told["stages"]
    }


@each
def test_the_editor_opens_with_it_and_finds_it_ready(page: Client, template: PipelineTemplate) -> None:
    answer = page.get(f"/pipelines/create/?template={template.slug}")
    assert answer.status_code == 200
    form = PipelineForm.of_template(template)
    form.place(problems(builders.person(), form.spec()))
    assert form.ready, (form.errors, [row.errors for row in form.rows])
    assert list(form.spec().stages) == list(template.stages)
    text = answer.content.decode()
    for stage in template.stages:
        assert f'value="{stage.name}"' in text
    assert f'href="/pipelines/create/?template={template.slug}" aria-current="true"' in text
    assert "Can be started" in text


def test_a_template_that_there_is_not_opens_an_empty_editor(page: Client) -> None:
    answer = page.get("/pipelines/create/?template=no-such")
    assert answer.status_code == 200
    assert "?template=tiny-sft-pipeline" in answer.content.decode()


def test_posted_twice_and_run_at_once_both_go_on_from_the_same_data(client: APIClient, hands: Hands) -> None:
    stages = listed(client)[0]["stages"]
    bodies = [{"name": name, "start": True, "stages": stages} for name in ("one", "other")]
    made = [client.post("/api/v1/pipelines/", body, format="json").json()["uuid"] for body in bodies]
    first, second = (Stage.objects.get(pipeline=uuid, name="preprocess") for uuid in made)
    hands.launch(first)
    hands.launch(second)
    assert (hands.until(first), hands.until(second)) == ("completed", "completed")
    assert first.result is not None
    assert second.result is not None
    assert first.result["dataset_version"] == second.result["dataset_version"] == "arithmetic-ready@1"
