"""What the doctor finds stands on the run's page, with what to try and the way there."""

import re
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from monitoring.diagnostics.knobs import KNOBS
from monitoring.models import Finding
from notifications.models import Event
from pipelines.live import render
from pipelines.models import Job, Recipe
from pipelines.recipes.trainers import TRAINERS
from pipelines.services import doctor
from pipelines.services.create import PipelineSpec, StageSpec, build
from tests.browser import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def sick(tmp_path: Path) -> world.Run:
    return world.sick_run(tmp_path)


def page_of(client: Client, run: world.Run) -> str:
    return client.get(f"/jobs/{run.job.pk}/").content.decode()


def test_the_page_says_what_is_wrong_how_healthy_the_run_is_and_what_to_try(alice: Client, sick: world.Run) -> None:
    html = page_of(alice, sick)
    assert re.search(r'data-severity="critical" aria-labelledby="finding-title"', html)
    assert "Critical: Not a number" in html
    assert 'data-window="160 160" data-metric-name="train/grad_norm"' in html
    assert re.search(r'<b class="num">0</b> <span class="muted num">/ 100</span> <span class="grade">F</span>', html)
    assert html.count('<li data-metric="') == 5
    assert "ValueError: &lt;no&gt; rows" in html, "a log is shown, and never run"
    # A built-in recipe is derived from; the link leads to the very control.
    assert 'href="/recipes/new/?from=tiny-sft#set-optim-lr"' in html
    assert "Diverged, again" in html


def test_a_loss_that_rises_is_not_told_as_one_that_does_not_fall(alice: Client, tmp_path: Path) -> None:
    run = world.run("running", root=tmp_path, steps=1, recipe="tiny-sft")
    for step in range(2, 8):
        run.log_step(step, **{"train/loss": 40.0, "train/grad_norm": 1.0})
    run.sync()
    html = page_of(alice, run)
    assert "Error: The loss has diverged" in html
    assert "<dt>The loss has diverged <span" in html, "so it is called where it takes something off the health"
    assert "does not fall" not in html
    assert "Lower the learning rate." in html
    assert "Where it never fell" not in html
    assert "The loss has diverged in " in Event.objects.get(args__code="diverged").told.title


def test_a_run_of_an_own_recipe_leads_to_its_form(alice: Client, sick: world.Run) -> None:
    Recipe.objects.filter(slug="tiny-sft").update(is_template=False)
    assert 'href="/recipes/tiny-sft/edit/#set-optim-lr"' in page_of(alice, sick)
    assert 'id="set-optim-lr"' in alice.get("/recipes/tiny-sft/edit/").content.decode()


def test_a_healthy_run_says_so_and_has_no_list(alice: Client, tmp_path: Path) -> None:
    html = page_of(alice, world.run("completed", root=tmp_path, steps=100))
    assert re.search(r'<b class="num">100</b>.*<span class="grade">A</span>', html)
    assert "Nothing takes anything off it." in html
    assert '<li data-metric="' not in html


def test_a_viewer_reads_findings_and_changes_nothing(vera: Client, sick: world.Run) -> None:
    html = page_of(vera, sick)
    assert "Critical: Not a number" in html
    assert "finding=" not in html
    assert "diagnose-form" not in html
    assert vera.post(f"/jobs/{sick.job.pk}/diagnose/").status_code == 403


def test_a_run_is_diagnosed_by_hand(alice: Client, sick: world.Run) -> None:
    Finding.objects.filter(stream_id=sick.job.pk).exclude(rule="log_error").delete()
    answer = alice.post(f"/jobs/{sick.job.pk}/diagnose/", follow=True).content.decode()
    assert "The run was read anew." in answer
    assert "Critical: Not a number" in answer
    assert alice.get(f"/jobs/{sick.job.pk}/diagnose/").status_code == 405


def test_one_action_opens_a_run_with_the_advice_filled_in_and_both_know_of_each_other(
    alice: Client, sick: world.Run
) -> None:
    finding = sick.job.stream.findings.get(rule="nan_inf", metric="train/loss")
    form = alice.get(f"/jobs/{sick.job.pk}/rerun/?finding={finding.pk}").content.decode()
    assert "In answer to: Not a number" in form
    assert 'value="optim.lr"' in form
    assert 'value="0.0001"' in form, "a tenth of the recipe's 0.001"
    assert f'name="finding" value="{finding.pk}"' in form
    other = world.run("completed", root=Path(sick.attempt.folder), name="Other").job
    assert alice.get(f"/jobs/{other.pk}/rerun/?finding={finding.pk}").status_code == 404
    assert alice.get(f"/jobs/{sick.job.pk}/rerun/?finding=x").status_code == 404


def test_a_run_that_answers_a_finding_says_so(alice: Client, sick: world.Run) -> None:
    again = Job.objects.get(incident__isnull=False)
    html = alice.get(f"/jobs/{again.pk}/").content.decode()
    assert f'href="/jobs/{sick.job.pk}/#finding-{again.incident_id}"' in html


def test_what_is_suggested_makes_a_difference(sick: world.Run) -> None:
    finding = sick.job.stream.findings.get(rule="nan_inf", metric="train/loss")
    sick.job.overrides = {"optim.lr": 0.005, "trainer.seed": 3}
    assert doctor.suggested(sick.job, finding) == {"optim.lr": 0.0005, "trainer.seed": 3}
    sick.job.overrides = {"optim.lr": 1e30}
    assert doctor.suggested(sick.job, finding) == {"optim.lr": 0.001}, "the recipe's own"
    log = sick.job.stream.findings.get(rule="log_error")
    assert doctor.suggested(sick.job, log)["data.micro_batch_size_per_gpu"] == 8, "whole numbers stay whole"


def test_what_a_socket_sends_is_what_the_page_shows(alice: Client, sick: world.Run) -> None:
    state = render.job_state(sick.job.pk, {("en", True), ("zh-hans", False)}, None)
    assert state is not None
    assert 'hx-target="#job-findings"' in state.html["en", True]
    assert 'hx-target="#job-health"' in state.html["en", True]
    assert "Critical: Not a number" in state.html["en", True]
    assert "finding=" not in state.html["zh-hans", False]
    assert "csrf" not in state.html["en", True]
    known = state.shape
    Finding.objects.filter(stream_id=sick.job.pk).update(open=False)
    sick.log_step(162, **{"train/loss": 1.0, "train/grad_norm": "NaN"})
    sick.sync()
    again = render.job_state(sick.job.pk, {("en", True)}, known)
    assert again is not None
    assert again.shape != known


def test_the_page_costs_the_same_with_many_findings(alice: Client, sick: world.Run) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            page_of(alice, sick)
        return len(queries)

    cost()
    few = cost()
    row = Finding.objects.filter(stream_id=sick.job.pk).first()
    assert row is not None
    for step in range(500, 560):
        row.pk, row.start_step = None, step
        row.save(force_insert=True)
    assert cost() == few


@pytest.mark.parametrize("trainer", KNOBS, ids="-".join)
def test_what_advice_changes_is_a_parameter_of_the_trainer(trainer: tuple[str, str]) -> None:
    known = TRAINERS[trainer]
    for key in KNOBS[trainer].values():
        assert key in known.tree().leaves
        assert key not in known.rules.platform


def test_every_trainer_has_what_advice_changes() -> None:
    assert set(KNOBS) == set(TRAINERS)


def test_a_run_knows_which_rules_read_it(tmp_path: Path) -> None:
    world.run("completed", root=tmp_path, steps=0)
    loss_mode = "actor_rollout_ref.actor.policy_loss.loss_mode"
    user = world.person()
    for recipe, overrides, algorithm in (
        ("tiny-sft", {}, "sft"),
        ("tiny-grpo", {}, "grpo"),
        ("tiny-grpo", {loss_mode: "gspo"}, "gspo"),
    ):
        stage = StageSpec("train", "train_model", {"recipe": recipe, "overrides": overrides})
        made = Job.objects.get(stage__pipeline=build(user, PipelineSpec(recipe, [stage])))
        assert (made.stream.algorithm, made.stream.trainer) == (algorithm, "verl")
