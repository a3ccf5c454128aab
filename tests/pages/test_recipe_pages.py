"""Recipes are made, derived, revised, checked and compared by the pages; nothing typed is lost on the way."""

import re
import uuid

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pipelines.models import Job, Recipe, RecipeRevision, Stage
from pipelines.recipe_form import RecipeForm
from pipelines.recipes.trainers import TRAINERS
from pipelines.services.builtin import install
from pipelines.services.submit import submit_job
from platform_site.common.roles import Role
from tests.browser import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(settings):
    install()
    client = Client()
    client.user = world.person("alice", Role.OPERATOR)
    client.force_login(client.user)
    return client


def given(**changed):
    plain = {
        "name": "My SFT",
        "base_model": "builtin:tiny-llama",
        "dataset": "arithmetic",
        "view": "form",
        "do": "save",
    }
    return {**plain, **changed}


def made(client, **changed):
    answer = client.post("/recipes/new/", given(**changed))
    assert answer.status_code == 302, re.findall(r'class="error".*?<span>(.*?)</span>', answer.content.decode())
    return Recipe.objects.get(slug="my-sft")


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=lambda trainer: f"{trainer.algorithm}-{trainer.name}")
def test_the_form_offers_only_settings_that_the_trainer_has_and_a_recipe_may_set(trainer):
    tree, rules = trainer.tree().leaves, trainer.rules
    keys = [field.key for group in trainer.groups for field in group.fields]
    assert 20 <= len(keys) == len(set(keys)) <= 50
    assert [key for key in keys if key not in tree or key in rules.platform or key in rules.admin] == []


def test_a_recipe_is_made_from_fields_and_yaml(alice):
    yaml = "data:\n  num_workers: 0\nmodel.override_config.attn_implementation: sdpa\n"
    recipe = made(
        alice,
        **{"set:optim.lr": "1e-4", "set:optim.betas": "[0.9, 0.95]", "set:model.use_liger": "false", "yaml": yaml},
    )
    revision = recipe.revisions.get()
    assert revision.params == {
        "optim.lr": 1e-4,
        "optim.betas": [0.9, 0.95],
        "model.use_liger": False,
        "data.num_workers": 0,
        "model.override_config.attn_implementation": "sdpa",
    }
    assert (revision.base_model, revision.dataset.slug, recipe.created_by) == (
        "builtin:tiny-llama",
        "arithmetic",
        alice.user,
    )


def test_a_derived_recipe_starts_from_the_other_one_and_names_it(alice):
    html = alice.get("/recipes/new/?from=tiny-sft").content.decode()
    assert 'name="set:optim.lr" value="0.001"' in html
    assert "model.override_config.attn_implementation: sdpa" in html
    origin = RecipeRevision.objects.get(recipe__slug="tiny-sft")
    form = RecipeForm.of("sft", "verl", origin.params)
    posted = {setting.name: setting.text for setting in form.settings.values()}
    recipe = made(alice, derived_from="tiny-sft", yaml=form.yaml, **posted)
    assert recipe.derived_from.slug == "tiny-sft"
    assert recipe.revisions.get().params == origin.params


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": ""}, "This is needed."),
        ({"base_model": ""}, "This is needed."),
        ({"base_model": "../x"}, "Give a built-in model"),
        ({"set:optim.lr": "fast"}, "Must be number"),
        ({"set:optim.lr": "-1"}, "at least 0"),
        ({"set:optim.betas": "[0.9"}, "Line 1"),
        ({"set:trainer.save_freq": "0"}, "Cannot be 0"),
        ({"set:data.truncation": "sideways"}, "is not one of"),
        ({"yaml": "optim.lrr: 1"}, "Did you mean optim.lr?"),
        ({"yaml": "a: [1"}, "Line 1"),
        ({"yaml": "model.trust_remote_code: true"}, "Only an administrator"),
        ({"yaml": "optim.lr: 1", "set:optim.lr": "2"}, "stands above as well"),
        ({"yaml": "hydra.run.dir: /tmp"}, "hydra"),
        ({"set:data.train_batch_size": "7", "set:data.use_dynamic_bsz": "false"}, "not divisible"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost(alice, changed, told):
    answer = alice.post("/recipes/new/", given(description="Keep me", **changed))
    html = answer.content.decode()
    assert answer.status_code == 422
    assert told in html
    assert "Keep me" in html
    for typed in changed.values():
        assert not typed or typed.replace("'", "&#x27;") in html
    assert not Recipe.objects.filter(slug="my-sft").exists()


def test_a_dataset_that_is_gone_is_told(alice):
    answer = alice.post("/recipes/new/", given(dataset="none-such"))
    assert answer.status_code == 422
    assert "no such dataset" in answer.content.decode()


def test_the_two_views_show_the_same_settings(alice):
    as_yaml = alice.post("/recipes/new/", given(do="yaml", yaml="data.num_workers: 0", **{"set:optim.lr": "1e-4"}))
    html = as_yaml.content.decode()
    assert "optim.lr: 0.0001" in html
    assert "data.num_workers: 0" in html
    assert 'name="view" value="yaml"' in html
    back = alice.post("/recipes/new/", given(do="form", view="yaml", yaml="optim.lr: 2e-4\ndata.num_workers: 0"))
    html = back.content.decode()
    assert 'name="set:optim.lr" value="0.0002"' in html
    assert re.search(r"<textarea[^>]*>\s*data.num_workers: 0\s*</textarea>", html)


def test_a_text_that_cannot_be_read_keeps_its_view(alice):
    html = alice.post("/recipes/new/", given(do="form", view="yaml", yaml="a: [1")).content.decode()
    assert 'name="view" value="yaml"' in html
    assert "a: [1" in html
    assert "Line 1" in html


def test_an_edit_makes_a_revision_and_a_stale_one_is_refused(alice):
    recipe = made(alice)
    url = f"/recipes/{recipe.slug}/edit/"
    assert 'name="revision" value="1"' in alice.get(url).content.decode()
    assert alice.post(url, given(revision="1", **{"set:optim.lr": "0.01"})).status_code == 302
    assert [r.params for r in recipe.revisions.order_by("number")] == [{}, {"optim.lr": 0.01}]
    stale = alice.post(url, given(revision="1", **{"set:optim.lr": "0.02"}))
    assert stale.status_code == 422
    assert "somebody changed it" in stale.content.decode()
    assert 'value="0.02"' in stale.content.decode()
    assert recipe.revisions.count() == 2


def test_editing_a_built_in_recipe_derives_from_it(alice):
    answer = alice.get("/recipes/tiny-sft/edit/")
    assert (answer.status_code, answer["Location"]) == (302, "/recipes/new/?from=tiny-sft")


def test_a_recipe_is_deleted_unless_it_was_run(alice):
    recipe = made(alice)
    assert "will be gone" in alice.get(f"/recipes/{recipe.slug}/delete/").content.decode()
    assert alice.post(f"/recipes/{recipe.slug}/delete/").status_code == 302
    assert not Recipe.objects.filter(pk=recipe.pk).exists()
    alice.post("/recipes/tiny-sft/delete/")
    assert Recipe.objects.filter(slug="tiny-sft").exists()


def test_typing_is_answered_with_what_the_trainer_would_say(alice):
    html = alice.post("/recipes/check/", given(algorithm="sft", trainer="verl", yaml="optim.lrr: 1")).content.decode()
    assert "optim.lr?" in html
    html = alice.post("/recipes/check/", given(algorithm="sft", trainer="verl", base_model="")).content.decode()
    assert "the trainer takes" in html
    odd = alice.post("/recipes/check/", given(algorithm="nonsense", trainer="verl"))
    assert odd.status_code == 200


def test_recipes_stand_side_by_side_with_their_defaults(alice):
    made(alice, **{"set:optim.lr": "0.01"})
    page = "/recipes/diff/?left=tiny-sft&right=my-sft@1"
    html = alice.get(page).content.decode()
    assert "changed" in html
    assert "removed" in html
    assert "default" in html
    assert "base_model" not in html
    assert "base_model" in alice.get(f"{page}&all=1").content.decode()
    assert "No key matches" in alice.get(f"{page}&search=zzz").content.decode()
    assert "There is no recipe" in alice.get("/recipes/diff/?left=tiny-sft&right=zzz").content.decode()
    assert "Choose two recipes" in alice.get("/recipes/diff/").content.decode()


def test_the_api_tells_the_same_difference(alice):
    made(alice, **{"set:optim.lr": "0.01"})
    body = alice.get("/api/v1/recipes/diff/?left=tiny-sft@1&right=my-sft").json()
    assert {"key": "optim.lr", "left": 0.001, "right": 0.01, "left_default": False, "right_default": False} in body[
        "changed"
    ]
    assert {row["key"] for row in body["removed"]} >= {"data.train_batch_size", "trainer.total_epochs"}
    assert {row["key"] for row in body["equal"]} >= {"base_model", "dataset", "algorithm", "trainer"}
    assert alice.get("/api/v1/recipes/diff/?left=tiny-sft").status_code == 422
    assert alice.get("/api/v1/recipes/diff/?left=tiny-sft&right=zzz").status_code == 404
    assert alice.get("/api/v1/recipes/diff/?left=tiny-sft@999999999999&right=tiny-sft@x").status_code == 404


@pytest.fixture
def runs(alice, settings):
    settings.TRAINING_PYTHON = "/bin/true"
    found = [
        submit_job(user=alice.user, recipe="tiny-sft", overrides=overrides, name=name)
        for name, overrides in (("Slow", {}), ("Fast", {"optim.lr": 0.01}), ("Same", {}))
    ]
    for job, loss in zip(found, (0.5, 0.25, "NaN"), strict=True):
        Job.objects.filter(pk=job.pk).update(final_metrics={"train/loss": loss})
    submit_job(user=alice.user, recipe="tiny-sft", name="Not compared")
    return found


def test_runs_stand_side_by_side_against_the_first(alice, runs):
    query = "&".join(f"job={job.pk}" for job in runs)
    html = alice.get(f"/jobs/compare/?{query}").content.decode()
    assert "\N{MINUS SIGN}0.25" in html
    assert "NaN" in html
    assert html.count("data-differs") == 1
    assert "trainer.total_epochs" not in html
    assert "trainer.total_epochs" in alice.get(f"/jobs/compare/?{query}&all=1").content.decode()


def test_a_run_is_taken_out_of_the_comparison(alice, runs):
    first, second, third = (str(job.pk) for job in runs)
    html = alice.get(f"/jobs/compare/?job={first}&job={second}&job={third}&all=1").content.decode()
    # Runs of one name are told apart by their id; each can go, the rest of the address stays.
    assert f"<code>{second[:8]}</code>" in html
    assert f'href="?job={first}&amp;job={third}&amp;all=1"' in html
    alone = alice.get(f"/jobs/compare/?job={first}").content.decode()
    assert f"Choose a run to compare with {runs[0].name} ({first[:8]})" in alone


@pytest.mark.parametrize("query", ["", "?job=", "?job=nonsense", f"?job={uuid.UUID(int=7)}"])
def test_comparing_nothing_asks_for_runs(alice, query):
    answer = alice.get(f"/jobs/compare/{query}")
    assert answer.status_code == 200
    assert "Choose runs to compare" in answer.content.decode()


def test_comparing_more_runs_takes_no_more_queries(alice, runs):
    def asked(some):
        with CaptureQueriesContext(connection) as captured:
            alice.get("/jobs/compare/?" + "&".join(f"job={job.pk}" for job in some))
        return len(captured)

    asked(runs)
    assert asked(runs[:2]) == asked(runs)


def test_the_api_compares_two_runs(alice, runs):
    slow, fast, odd = (job.pk for job in runs)
    body = alice.get(f"/api/v1/jobs/diff/?left={slow}&right={fast}").json()
    assert [row["key"] for row in body["changed"]] == ["optim.lr"]
    assert body["metrics"] == [{"name": "train/loss", "left": 0.5, "right": 0.25, "delta": -0.25}]
    assert alice.get(f"/api/v1/jobs/diff/?left={slow}&right={odd}").json()["metrics"][0]["delta"] is None
    assert alice.get(f"/api/v1/jobs/diff/?left={slow}").status_code == 422
    assert alice.get(f"/api/v1/jobs/diff/?left={slow}&right=zzz").status_code == 422
    assert alice.get(f"/api/v1/jobs/diff/?left={slow}&right={uuid.UUID(int=7)}").status_code == 404


def test_a_fix_changes_the_form_and_saves_nothing(alice):
    blind = {"set:trainer.save_freq": "-1", "set:trainer.total_training_steps": "40", "description": "Keep me"}
    told = alice.post("/recipes/check/", given(algorithm="sft", trainer="verl", **blind)).content.decode()
    assert 'name="fix" value="trainer.save_freq=10"' in told
    answer = alice.post("/recipes/new/", given(do="", fix="trainer.save_freq=10", **blind))
    html = answer.content.decode()
    assert answer.status_code == 200
    assert 'name="set:trainer.save_freq" value="10"' in html
    assert "Keep me" in html
    assert "Nothing is saved yet" in html
    assert not Recipe.objects.filter(slug="my-sft").exists()


def test_a_key_that_was_meant_takes_the_place_of_the_wrong_one(alice):
    told = alice.post("/recipes/check/", given(algorithm="sft", trainer="verl", yaml="optim.lrr: 1")).content.decode()
    assert 'name="fix" value="optim.lrr=optim.lr"' in told
    html = alice.post("/recipes/new/", given(do="", fix="optim.lrr=optim.lr", yaml="optim.lrr: 1")).content.decode()
    assert 'name="set:optim.lr" value="1"' in html
    assert "optim.lrr: 1" not in html


def test_the_page_of_a_recipe_offers_the_fix_and_leads_into_the_form(alice):
    recipe = made(alice, **{"set:trainer.save_freq": "-1", "set:trainer.total_epochs": "1"})
    html = alice.get(f"/recipes/{recipe.slug}/").content.decode()
    assert "Worth a look" in html
    link = re.search(r'href="(/recipes/my-sft/edit/\?fix=[^"]*)"', html)[1]
    form = alice.get(link).content.decode()
    assert 'name="set:trainer.save_freq" value="100"' in form
    assert recipe.revisions.count() == 1
    built_in = alice.get("/recipes/smollm2-sft/edit/?fix=trainer.save_freq%3D6")
    assert built_in["Location"] == "/recipes/new/?from=smollm2-sft&fix=trainer.save_freq%3D6"
    assert 'name="set:trainer.save_freq" value="6"' in alice.get(built_in["Location"]).content.decode()


def test_only_who_may_edit_is_offered_a_fix(alice):
    viewer = Client()
    viewer.force_login(world.person("vera", Role.VIEWER))
    html = viewer.get("/recipes/smollm2-sft/").content.decode()
    assert "Worth a look" in html
    assert "fix=" not in html


@pytest.mark.parametrize("fix", ["", "nonsense", "=", "a=b", "optim.lr=[", "set:x=1", "base_model=builtin:tiny-llama"])
def test_a_fix_that_is_none_harms_nothing(alice, fix):
    assert alice.post("/recipes/new/", given(do="", fix=fix)).status_code in (200, 302)
    assert alice.get("/recipes/new/", {"from": "tiny-sft", "fix": fix}).status_code == 200


def test_what_worked_is_shown_and_its_settings_fill_the_form(alice, runs):
    assert "What worked" not in alice.get("/recipes/tiny-sft/").content.decode()
    slow, fast, _odd = runs
    Stage.objects.filter(pk__in=[slow.stage_id, fast.stage_id]).update(status="completed")
    for page in ("/recipes/tiny-sft/", "/recipes/new/?from=tiny-sft"):
        html = alice.get(page).content.decode()
        assert html.index(f"/jobs/{fast.pk}/") < html.index(f"/jobs/{slow.pk}/")
    form = alice.get(f"/recipes/new/?job={fast.pk}").content.decode()
    assert 'name="set:optim.lr" value="0.01"' in form
    assert 'name="derived_from" value="tiny-sft"' in form
    assert '<option value="arithmetic" selected>' in form
    assert alice.get("/recipes/new/?job=nonsense").status_code == 404
    assert alice.get(f"/recipes/new/?job={uuid.UUID(int=7)}").status_code == 404
