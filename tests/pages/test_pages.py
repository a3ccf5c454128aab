"""Who sees which page, what stands on it in each state, and what forms answer."""

import re
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from datasets.models import Dataset
from environments.models import Host
from pipelines.models import Job, Pipeline, Recipe, RecipeRevision
from pipelines.services.builtin import install
from pipelines.states import PipelineStatus, StageStatus
from platform_site import display
from platform_site.common.roles import Role
from tests.browser import world

from .looks import queries

pytestmark = pytest.mark.django_db

PAGES = ["/", "/jobs/", "/recipes/", "/recipes/tiny-sft/", "/datasets/", "/datasets/arithmetic/", "/system/"]


@pytest.mark.parametrize("page", [*PAGES, "/jobs/new/", f"/jobs/{uuid.UUID(int=1)}/"])
def test_nobody_sees_a_page_without_signing_in(client: Client, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/?next=")


@pytest.mark.parametrize("page", PAGES)
def test_a_user_without_a_role_is_told_so(client: Client, page: str) -> None:
    user = world.person("alice")
    user.groups.clear()
    client.force_login(user)
    answer = client.get(page)
    assert answer.status_code == 403
    assert "You may not do this" in answer.content.decode()


def test_only_administrators_are_shown_the_way_to_the_administration(client: Client, alice: Client) -> None:
    client.force_login(world.person("charlie", Role.ADMIN))
    assert 'href="/admin/"' in client.get("/").content.decode()
    assert 'href="/admin/"' not in alice.get("/").content.decode()


def test_what_a_dataset_is_counted_by_is_said_in_words(vera: Client) -> None:
    install()
    page = vera.get("/datasets/arithmetic/").content.decode()
    assert "Characters a row, mean" in page
    assert "mean_characters" not in page


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_reads_everything_and_starts_nothing(vera: Client, tmp_path: Path, page: str) -> None:
    run = world.run("running", root=tmp_path, steps=0)
    html = vera.get(page).content.decode()
    assert 'href="/jobs/new/' not in html
    assert vera.get("/jobs/new/").status_code == 403
    assert vera.post(f"/jobs/{run.job.pk}/cancel/").status_code == 403
    assert vera.post(f"/jobs/{run.job.pk}/rerun/").status_code == 403
    assert "job-cancel" not in vera.get(f"/jobs/{run.job.pk}/").content.decode()


def test_the_first_page_offers_the_one_run_to_start_with(alice: Client) -> None:
    install()
    html = alice.get("/").content.decode()
    assert "Start tiny-sft" in html
    assert html.count('class="button primary"') == 1


def test_the_dashboard_puts_what_needs_attention_first(alice: Client, tmp_path: Path) -> None:
    world.run("completed", name="Went well", root=tmp_path, steps=0)
    world.run("running", name="Going on", root=tmp_path, steps=3, age=timedelta(seconds=9))
    world.run("failed", name="Went wrong", root=tmp_path, steps=0, error="The disk is full.")
    world.run("failed", name="Long ago", root=tmp_path, steps=0, error="Old story.", age=timedelta(days=9))
    html = alice.get("/").content.decode()
    assert html.index("Went wrong") < html.index("Going on") < html.index("Capacity") < html.index("Went well")
    assert html.index("Long ago") > html.index("Capacity")
    # A run stands once on the page: its row has an id.
    assert html.count("Went wrong</a>") == 1


@pytest.mark.parametrize("status", [*StageStatus, *PipelineStatus, "lost", "unreachable", "succeeded", "ready"])
def test_every_status_has_a_word_and_a_shape(status: str) -> None:
    assert display.status_label(status) != status
    assert display.status_shape(status) in display.STATUS_LABELS


@pytest.mark.parametrize("status", list(StageStatus))
def test_a_run_in_any_status_has_a_page(alice: Client, tmp_path: Path, status: str) -> None:
    run = world.run("running", root=tmp_path, steps=2)
    run.job.stage.__class__.objects.filter(pk=run.job.pk).update(status=status)
    html = alice.get(f"/jobs/{run.job.pk}/").content.decode()
    assert f'data-shape="{status}"' in html
    ended = status in ("completed", "failed", "cancelled", "skipped")
    assert (f"/ws/monitoring/{run.job.pk}/live/" in html) is not ended
    assert ('id="cancel-dialog"' in html) is (status in ("pending", "queued", "starting", "running"))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"One", "Two", "Three"}),
        ("?status=failed", {"Two"}),
        ("?status=FAILED", {"Two"}),
        ("?status=active", {"Three"}),
        ("?search=tw", {"Two"}),
        ("?search=arithmetic+one", {"One"}),
        ("?recipe=tiny-sft", {"One", "Two", "Three"}),
        ("?recipe=unknown", set()),
        ("?page=99", {"One", "Two", "Three"}),
    ],
)
def test_the_list_filters_by_its_address(alice: Client, tmp_path: Path, query: str, names: set[str]) -> None:
    world.run("completed", name="One", root=tmp_path, steps=0)
    world.run("failed", name="Two", root=tmp_path, steps=0)
    world.run("queued", name="Three", root=tmp_path, steps=0)
    page = alice.get(f"/jobs/{query}").context["page"]
    assert {job.name for job in page.object_list} == names


def test_nothing_yet_differs_from_no_match(alice: Client, tmp_path: Path) -> None:
    install()
    html = alice.get("/jobs/").content.decode()
    assert "No runs yet" in html
    assert "Clear filters" not in html
    world.run("completed", root=tmp_path, steps=0)
    html = alice.get("/jobs/?search=zzz").content.decode()
    assert "No run matches" in html
    assert "Clear filters" in html


def test_a_page_costs_the_same_number_of_queries_with_many_runs(alice: Client, tmp_path: Path) -> None:
    for n in range(3):
        world.run("completed", name=f"Run {n}", root=tmp_path, steps=0)
    few = {page: queries(alice, page) for page in ("/", "/jobs/", "/recipes/tiny-sft/", "/datasets/arithmetic/")}
    for n in range(12):
        world.run("completed", name=f"More {n}", root=tmp_path, steps=0)
    assert {page: queries(alice, page) for page in few} == few


def start(client: Client, **fields: object) -> object:
    install()
    Host.objects.update(python=sys.executable)
    return client.post("/jobs/new/", {"recipe": "tiny-sft", **fields})


def test_starting_a_run_leads_to_its_page(alice: Client) -> None:
    answer = start(alice, name="Mine", key=["trainer.total_epochs", ""], value=["2", ""])
    made = Job.objects.get()
    assert answer["Location"] == f"/jobs/{made.pk}/"
    assert (made.name, made.overrides) == ("Mine", {"trainer.total_epochs": 2})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"key": "no.such.key", "value": "1"}, "The trainer has no such setting."),
        ({"key": "trainer.total_epochs", "value": "many"}, "Must be"),
        ({"key": "", "value": "1"}, "Name the setting."),
        ({"key": ["optim.lr", "optim.lr"], "value": ["1e-3", "1e-4"]}, "This setting stands here twice."),
        ({"recipe": "unknown"}, "Select a valid choice"),
        ({"host": "nowhere"}, "Select a valid choice"),
    ],
)
def test_a_refused_run_says_why_keeps_what_was_typed_and_makes_nothing(
    alice: Client, fields: dict[str, object], told: str
) -> None:
    answer = start(alice, name="Kept", **fields)
    html = answer.content.decode()
    assert answer.status_code == 422
    assert told in html
    assert 'value="Kept"' in html
    assert 'aria-invalid="true"' in html
    assert not Pipeline.objects.exists()


def test_without_a_training_environment_the_cause_is_told(alice: Client) -> None:
    install()
    Host.objects.update(python="/nowhere/python")
    answer = alice.post("/jobs/new/", {"recipe": "tiny-sft"})
    assert answer.status_code == 422
    assert "/nowhere/python is not an executable Python" in answer.content.decode()
    assert not Pipeline.objects.exists()


def offered(page: str, name: str) -> set[str]:
    """The choices of a form's field."""
    select = re.search(rf'<select name="{name}".*?</select>', page, flags=re.S)
    assert select is not None
    return set(re.findall(r'<option value="([^"]*)"', select[0]))


def test_a_new_run_offers_the_data_that_its_recipe_learns_from(alice: Client) -> None:
    install()
    of_kind = {kind: set(Dataset.objects.filter(kind=kind).values_list("slug", flat=True)) for kind in Dataset.Kind}
    assert all(of_kind[kind] for kind in ("sft", "preference", "prompts"))
    for recipe, kind in (("tiny-sft", "sft"), ("tiny-dpo", "preference"), ("tiny-grpo", "prompts")):
        page = alice.get(f"/jobs/new/?recipe={recipe}").content.decode()
        assert offered(page, "dataset") == {"", *of_kind[kind]}
    first = alice.get("/jobs/new/").content.decode()
    chosen = Recipe.objects.order_by("-is_template", "slug").values_list("algorithm", flat=True)[0]
    kinds = {"sft": "sft", "dpo": "preference", "grpo": "prompts"}
    assert offered(first, "dataset") == {"", *of_kind[kinds[chosen]]}


def test_recipes_that_no_host_can_run_come_last_and_say_what_is_missing(alice: Client) -> None:
    install()
    Host.objects.update(python=sys.executable, gpus=[], gpus_by_hand=True)
    page = alice.get("/jobs/new/").content.decode()
    fit, _, unfit = page.partition("<optgroup")
    assert 'value="tiny-sft"' in fit
    assert "qwen" not in fit
    assert re.search(r'<option value="(qwen[^"]+)">[^<]+· needs [^<]*, local has none</option>', unfit)
    large = Recipe.objects.filter(slug__startswith="qwen").values_list("slug", flat=True)[0]
    chosen = alice.get(f"/jobs/new/?recipe={large}").content.decode()
    assert "No host can run it now: needs" in chosen
    assert "No host can run it now" not in page
    count = queries(alice, "/jobs/new/")
    Host.objects.update(gpus=[{"index": n, "name": "H100", "memory_mib": 81559} for n in range(64)], labels=["h100"])
    assert "<optgroup" not in alice.get("/jobs/new/").content.decode()
    for n in range(5):
        Recipe.objects.create(project=Host.objects.get().project, slug=f"more-{n}", algorithm="sft").revisions.create(
            number=1, base_model="builtin:tiny-llama", params={}
        )
    assert queries(alice, "/jobs/new/") <= count


def test_a_recipe_without_a_dataset_offers_none_of_its_own(alice: Client) -> None:
    install()
    RecipeRevision.objects.filter(recipe__slug="tiny-sft").update(dataset=None)
    page = alice.get("/jobs/new/?recipe=tiny-sft").content.decode()
    assert "" not in offered(page, "dataset")
    assert "arithmetic" in offered(page, "dataset")
    Dataset.objects.filter(kind="sft").update(kind="eval")
    assert (
        "There is no dataset that this recipe learns from" in alice.get("/jobs/new/?recipe=tiny-sft").content.decode()
    )


def test_data_that_a_recipe_does_not_learn_from_are_refused_at_the_field(alice: Client) -> None:
    install()
    wrong = Dataset.objects.filter(kind="preference").values_list("slug", flat=True)[0]
    answer = alice.post("/jobs/new/", {"recipe": "tiny-sft", "dataset": wrong, "name": "Kept"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "learns from none of that name" in page
    assert wrong not in offered(page, "dataset")
    assert not Pipeline.objects.exists()


def test_a_run_is_made_again_with_recipes_of_its_algorithm(alice: Client, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=0)
    recipes = offered(alice.get(f"/jobs/{run.job.pk}/rerun/").content.decode(), "recipe")
    assert {"tiny-sft@1", "tiny-sft"} <= recipes
    assert recipes - {"tiny-sft@1"} == set(Recipe.objects.filter(algorithm="sft").values_list("slug", flat=True))


def test_running_again_takes_the_settings_of_the_form(alice: Client, tmp_path: Path) -> None:
    run = world.run("failed", root=tmp_path, steps=0, overrides={"optim.lr": 0.01, "trainer.total_epochs": 2})
    Host.objects.update(python=sys.executable)
    html = alice.get(f"/jobs/{run.job.pk}/rerun/").content.decode()
    assert 'value="optim.lr"' in html
    assert '<option value="tiny-sft@1" selected>' in html
    assert '<option value="arithmetic@1" selected>' in html
    posted = {"recipe": "tiny-sft@1", "dataset": "arithmetic@1", "name": "Once more", "host": "local"}
    alice.post(f"/jobs/{run.job.pk}/rerun/", {**posted, "key": ["optim.lr"], "value": ["0.002"]})
    again = Job.objects.exclude(pk=run.job.pk).get()
    assert again.overrides == {"optim.lr": 0.002}
    assert (again.name, again.stage.host.name) == ("Once more", "local")
    assert again.recipe_revision == run.job.recipe_revision


def test_running_again_keeps_the_revision_that_ran_and_offers_the_newest(alice: Client, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=0)
    Host.objects.update(python=sys.executable)
    old = run.job.recipe_revision
    newer = RecipeRevision.objects.create(recipe=old.recipe, number=2, base_model=old.base_model, dataset=old.dataset)
    url = f"/jobs/{run.job.pk}/rerun/"
    html = alice.get(url).content.decode()
    assert "Tiny SFT, revision 1" in html
    assert '<option value="tiny-sft">' in html
    alice.post(url, {"recipe": "tiny-sft@1", "name": "as it was"})
    assert Job.objects.get(name="as it was").recipe_revision == old
    newer.params = old.params
    newer.save()
    alice.post(url, {"recipe": "tiny-sft", "name": "the newest"})
    assert Job.objects.get(name="the newest").recipe_revision == newer


def test_what_is_wrong_with_a_run_that_is_made_again_stands_beside_its_field(alice: Client, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=0)
    Host.objects.update(python=sys.executable)
    posted = {"recipe": "tiny-sft@1", "name": "Keep me", "key": ["optim.lrr"], "value": ["1"]}
    answer = alice.post(f"/jobs/{run.job.pk}/rerun/", posted)
    assert answer.status_code == 422
    assert "Did you mean optim.lr?" in answer.content.decode()
    assert "Keep me" in answer.content.decode()
    assert alice.post(f"/jobs/{run.job.pk}/rerun/", {"recipe": "other@1"}).status_code == 422
    assert Job.objects.count() == 1


def test_cancelling_what_has_ended_is_told_and_changes_nothing(alice: Client, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=0)
    answer = alice.post(f"/jobs/{run.job.pk}/cancel/", follow=True)
    assert "already ended" in answer.content.decode()


def test_the_theme_is_kept_and_leads_nowhere_else(client: Client) -> None:
    answer = client.post("/preferences/theme/", {"theme": "dark", "next": "https://elsewhere.example/"})
    assert answer["Location"] == "/"
    assert answer.cookies["theme"].value == "dark"
    assert "theme" not in client.post("/preferences/theme/", {"theme": "<script>"}).cookies


def test_what_people_typed_is_escaped(alice: Client, tmp_path: Path) -> None:
    nasty = '<img src=x onerror="x">'
    run = world.run("failed", name=nasty, root=tmp_path, steps=0, error=nasty, overrides={"a": nasty})
    for page in ("/", "/jobs/", f"/jobs/{run.job.pk}/", f"/jobs/{run.job.pk}/rerun/", "/recipes/tiny-sft/"):
        assert nasty not in alice.get(page).content.decode()


def test_error_pages_lead_back(alice: Client) -> None:
    answer = alice.get(f"/jobs/{uuid.uuid4()}/")
    assert answer.status_code == 404
    assert "There is no such run." in answer.content.decode()
    assert 'href="/"' in answer.content.decode()


def test_times_are_told_from_now() -> None:
    now = timezone.now()
    assert [display.ago(now - timedelta(seconds=s), now) for s in (3, 125, 7300, 180000)] == [
        "just now", "2 min ago", "2 h ago", "2 d ago",
    ]  # fmt: skip


def test_whoever_guesses_passwords_is_told_to_wait(client: Client) -> None:
    world.person("alice")
    for _ in range(10):
        answer = client.post("/login/", {"username": "alice", "password": "wrong"})
    assert answer.status_code == 429
    assert "Too many attempts" in answer.content.decode()
