"""Recipes over REST, in the contract's shapes."""

import pytest

from pipelines.models import Recipe, RecipeRevision
from pipelines.recipes import builtin
from platform_site.common.models import AuditEvent
from tests.people import alice, bob, browser, charlie, program

URL = "/api/v1/recipes/"
NEW = {
    "name": "My SFT",
    "algorithm": "sft",
    "base_model": "builtin:tiny-llama",
    "params": {"data.train_batch_size": 16, "data.micro_batch_size_per_gpu": 8, "trainer.save_freq": 4},
}


@pytest.fixture
def operator(installed):
    return program(bob())


def error(response):
    return response.status_code, response.json()["error"]["code"], response.json()["error"].get("fields", {})


def test_the_list_has_the_built_in_recipe(operator):
    body = operator.get(URL).json()
    assert body["count"] == len(builtin.RECIPES)
    recipe = next(one for one in body["results"] if one["slug"] == "tiny-sft")
    assert (recipe["algorithm"], recipe["trainer"], recipe["base_model"]) == ("sft", "verl", "builtin:tiny-llama")
    assert (recipe["is_template"], recipe["derived_from"], recipe["revision"]) == (True, None, 1)
    assert recipe["params"]["optim.lr"] == 0.001
    assert recipe["dataset"] == "arithmetic"


def test_the_list_is_filtered_and_a_wrong_filter_refused(operator):
    found = operator.get(URL, {"algorithm": "dpo"}).json()["results"]
    assert {recipe["slug"] for recipe in found} == {one.slug for one in builtin.RECIPES if one.algorithm == "dpo"}
    assert operator.get(URL, {"is_template": "true"}).json()["count"] == len(builtin.RECIPES)
    assert operator.get(URL, {"algoritm": "dpo"}).status_code == 400


def test_the_number_of_queries_does_not_grow_with_the_list(operator, django_assert_max_num_queries):
    for number in range(6):
        operator.post(URL, {**NEW, "name": f"R {number}", "derived_from": "tiny-sft"}, format="json")
    with django_assert_max_num_queries(10):
        assert len(operator.get(URL).json()["results"]) == len(builtin.RECIPES) + 6


def test_a_recipe_is_made_with_its_first_revision(operator):
    response = operator.post(URL, {**NEW, "derived_from": "tiny-sft", "dataset": "arithmetic"}, format="json")
    assert response.status_code == 201
    body = response.json()
    assert (body["slug"], body["revision"], body["is_template"]) == ("my-sft", 1, False)
    assert (body["derived_from"], body["created_by"], body["params"]) == ("tiny-sft", "bob", NEW["params"])
    assert AuditEvent.objects.filter(action="recipe.create", actor_name="bob").exists()
    assert operator.get(f"{URL}my-sft/").json() == body


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"params": {"optim.lrr": 1}}, 422, "params.optim.lrr"),
        ({"params": {"optim.lr": "fast"}}, 422, "params.optim.lr"),
        ({"params": {"+optim.lr": 1}}, 422, "params.+optim.lr"),
        ({"params": {"trainer.devices": "cuda"}}, 422, "params.trainer.devices"),
        ({"params": {"model.trust_remote_code": True}}, 422, "params.model.trust_remote_code"),
        ({"base_model": "../x"}, 422, "base_model"),
        ({"trainer": "trl"}, 422, "algorithm"),
        ({"dataset": "nothing"}, 422, "dataset"),
        ({"derived_from": "nothing"}, 422, "derived_from"),
        ({"slug": "diff"}, 422, "slug"),
        ({"slug": "A B"}, 422, "slug"),
        ({"algorithm": "magic"}, 400, "algorithm"),
        ({"colour": "red"}, 400, "colour"),
        ({"is_template": True}, 400, "is_template"),
        ({"params": [1]}, 400, "params"),
    ],
)
def test_a_wrong_recipe_is_refused_at_its_field_and_nothing_is_made(operator, changes, status, field):
    got, _code, fields = error(operator.post(URL, {**NEW, **changes}, format="json"))
    assert (got, field in fields) == (status, True), fields
    assert Recipe.objects.count() == len(builtin.RECIPES)


def test_a_taken_slug_is_a_conflict(operator):
    operator.post(URL, NEW, format="json")
    assert error(operator.post(URL, NEW, format="json"))[:2] == (409, "name_taken")


def test_changed_content_is_a_new_revision_and_the_old_one_stays(operator):
    operator.post(URL, NEW, format="json")
    params = {**NEW["params"], "optim.lr": 1e-5}
    body = operator.patch(f"{URL}my-sft/", {"revision": 1, "params": params}, format="json").json()
    assert (body["revision"], body["params"]["optim.lr"]) == (2, 1e-5)
    rows = operator.get(f"{URL}my-sft/revisions/").json()["results"]
    assert [row["revision"] for row in rows] == [2, 1]
    assert rows[1]["params"] == NEW["params"]


def test_a_new_name_alone_makes_no_revision(operator):
    operator.post(URL, NEW, format="json")
    body = operator.patch(f"{URL}my-sft/", {"revision": 1, "name": "Better"}, format="json").json()
    assert (body["revision"], body["name"]) == (1, "Better")


def test_a_stale_change_is_a_conflict_and_changes_nothing(operator):
    operator.post(URL, NEW, format="json")
    operator.patch(f"{URL}my-sft/", {"revision": 1, "params": {}}, format="json")
    stale = operator.patch(f"{URL}my-sft/", {"revision": 1, "name": "Late"}, format="json")
    assert error(stale)[:2] == (409, "stale_revision")
    assert operator.get(f"{URL}my-sft/").json()["name"] == "My SFT"


def test_a_change_must_name_its_revision(operator):
    operator.post(URL, NEW, format="json")
    assert error(operator.patch(f"{URL}my-sft/", {"name": "x"}, format="json"))[0] == 400


def test_a_wrong_change_is_refused(operator):
    operator.post(URL, NEW, format="json")
    response = operator.patch(f"{URL}my-sft/", {"revision": 1, "params": {"optim.lrr": 1}}, format="json")
    assert error(response)[0] == 422
    assert RecipeRevision.objects.filter(recipe__slug="my-sft").count() == 1


def test_built_in_recipes_are_read_only(operator):
    assert error(operator.patch(f"{URL}tiny-sft/", {"revision": 1, "name": "x"}, format="json"))[:2] == (
        403,
        "built_in",
    )
    assert error(operator.delete(f"{URL}tiny-sft/"))[:2] == (403, "built_in")


def test_a_recipe_that_never_ran_is_deleted(operator):
    operator.post(URL, NEW, format="json")
    assert operator.delete(f"{URL}my-sft/").status_code == 204
    assert operator.get(f"{URL}my-sft/").status_code == 404


def test_an_administrator_may_allow_remote_code_and_others_may_run_and_edit_it(installed):
    admin = program(charlie())
    params = {**NEW["params"], "model.trust_remote_code": True}
    assert admin.post(URL, {**NEW, "params": params}, format="json").status_code == 201
    operator = program(bob())
    changed = {"revision": 1, "params": {**params, "optim.lr": 0.01}}
    assert operator.patch(f"{URL}my-sft/", changed, format="json").status_code == 200
    assert operator.post(f"{URL}my-sft/compile/", {"dataset": "arithmetic"}, format="json").status_code == 200
    assert error(operator.post(URL, {**NEW, "name": "b", "params": params}, format="json"))[0] == 422


def test_an_administrators_token_of_a_lower_scope_is_no_administrator(installed):
    narrow = program(charlie(), "operate")
    params = {**NEW["params"], "model.trust_remote_code": True}
    assert error(narrow.post(URL, {**NEW, "params": params}, format="json"))[0] == 422


def test_validate_answers_in_the_shape_of_the_contract(operator):
    body = operator.post(f"{URL}validate/", {**NEW, "params": {**NEW["params"], "optim.lrr": 1}}, format="json").json()
    assert body["valid"] is False
    [problem] = body["errors"]
    assert (problem["key"], problem["suggestion"]) == ("optim.lrr", "optim.lr")
    assert problem["message"]
    assert body["warnings"] == []
    assert operator.post(f"{URL}validate/", NEW, format="json").json() == {"valid": True, "errors": [], "warnings": []}
    assert Recipe.objects.count() == len(builtin.RECIPES)


def test_a_recipe_can_be_validated_as_it_was_got(operator):
    recipe = operator.get(f"{URL}tiny-sft/").json()
    assert operator.post(f"{URL}validate/", recipe, format="json").json()["valid"] is True


def test_validate_counts_the_dataset(operator):
    asked = {**NEW, "dataset": "arithmetic", "params": {**NEW["params"], "data.train_batch_size": 512}}
    body = operator.post(f"{URL}validate/", asked, format="json").json()
    assert [problem["key"] for problem in body["errors"]] == ["data.train_batch_size"]


def test_compile_shows_what_would_run_and_starts_nothing(operator):
    body = operator.post(f"{URL}tiny-sft/compile/", {"overrides": {"optim.lr": 0.5}}, format="json").json()
    assert body["argv"][1:5] == ["-P", "-m", "platform_runtime.trainers.verl_sft", "--config"]
    assert body["config"]["optim"]["lr"] == 0.5
    assert body["config"]["model"]["path"] == "builtin:tiny-llama"
    assert body["config"]["data"]["train_files"].endswith(".jsonl")
    assert (body["target_step"], body["checkpoint_required"], body["adjusted"]) == (48, True, {})
    assert "SECRET" not in str(body["env"])


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"overrides": {"optim.lrr": 1}}, "overrides.optim.lrr"),
        ({"overrides": {"trainer.devices": "x"}}, "overrides.trainer.devices"),
        ({"overrides": {"model.trust_remote_code": True}}, "overrides.model.trust_remote_code"),
        ({"dataset": "nothing"}, "dataset"),
        ({"dataset": "arithmetic@9"}, "dataset"),
        ({"host": "nowhere"}, "host"),
    ],
)
def test_what_cannot_be_compiled_says_why(operator, asked, field):
    status, _code, fields = error(operator.post(f"{URL}tiny-sft/compile/", asked, format="json"))
    assert (status, field in fields) == (422, True), fields


@pytest.mark.parametrize("url", ["nothing/", "nothing/revisions/", "TINY-SFT/"])
def test_what_is_not_there_is_404(operator, url):
    assert operator.get(URL + url).status_code == 404


def test_viewers_look_check_and_preview_only(installed):
    viewer = program(alice())
    assert viewer.get(f"{URL}tiny-sft/").status_code == 200
    assert viewer.post(f"{URL}validate/", NEW, format="json").status_code == 200
    assert viewer.post(f"{URL}tiny-sft/compile/", {}, format="json").status_code == 200
    assert viewer.post(URL, NEW, format="json").status_code == 403
    assert viewer.patch(f"{URL}tiny-sft/", {}, format="json").status_code == 403
    assert viewer.delete(f"{URL}tiny-sft/").status_code == 403


def test_an_idempotency_key_makes_one_recipe(operator):
    first = operator.post(URL, NEW, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    again = operator.post(URL, NEW, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert Recipe.objects.filter(slug="my-sft").count() == 1


def test_the_admin_shows_recipes_and_changes_no_content(installed):
    page = browser(charlie())
    recipe = Recipe.objects.get(slug="tiny-sft")
    revision = recipe.revisions.get()
    assert page.get("/admin/pipelines/recipe/").status_code == 200
    assert page.get(f"/admin/pipelines/recipe/{recipe.pk}/change/").status_code == 200
    assert page.get(f"/admin/pipelines/reciperevision/{revision.pk}/change/").status_code == 200
    assert page.post(f"/admin/pipelines/reciperevision/{revision.pk}/change/", {"params": "{}"}).status_code == 403
    assert page.post(f"/admin/pipelines/recipe/{recipe.pk}/change/", {"name": "x"}).status_code == 403
    for name in ("dataset", "datasetversion", "datasetcopy"):
        assert page.get(f"/admin/datasets/{name}/").status_code == 200
