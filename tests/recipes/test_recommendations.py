"""What worked: completed runs of a method and a model, the best first, within what one may see."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.models import Stream
from pipelines.models import Job, RecipeRevision, Stage
from pipelines.services.recommend import best, what_worked
from pipelines.services.submit import submit_job
from tests.people import alice, bob, dora, program

URL = "/api/v1/recipes/recommendations/"
TINY = "builtin:tiny-llama"


@pytest.fixture
def operator(installed, settings):
    settings.TRAINING_PYTHON = "/bin/true"
    return bob()


def ran(user, name, loss=None, *, overrides=None, status="completed", health=None, recipe="tiny-sft", **metrics):
    job = submit_job(user=user, recipe=recipe, overrides=overrides or {}, name=name)
    Stage.objects.filter(pk=job.stage_id).update(status=status)
    final = {**({} if loss is None else {"train/loss": loss}), **metrics}
    Job.objects.filter(pk=job.pk).update(final_metrics=final, final_step=48)
    Stream.objects.filter(pk=job.pk).update(health_score=health)
    return job


def names(found):
    return [(one.rank, one.job.name) for one in found]


def test_the_lowest_loss_is_first_and_runs_that_did_not_complete_are_not_there(operator):
    ran(operator, "middling", 0.5, overrides={"optim.lr": 0.01})
    ran(operator, "good", 0.2, overrides={"optim.lr": 0.02})
    ran(operator, "bad", 2.5, overrides={"optim.lr": 0.5})
    ran(operator, "failed", 0.1, overrides={"optim.lr": 0.03}, status="failed")
    assert names(what_worked(operator, "sft", TINY)) == [(1, "good"), (2, "middling"), (3, "bad")]


def test_a_run_that_did_not_end_well_stands_behind_whatever_its_metric(operator):
    ran(operator, "sick", 0.1, overrides={"optim.lr": 0.01}, health=30)
    odd = ran(operator, "odd", 0.05, overrides={"optim.lr": 0.02})
    Stream.objects.filter(pk=odd.stream_id).update(has_anomaly=True)
    ran(operator, "silent", overrides={"optim.lr": 0.03})
    ran(operator, "diverged", "NaN", overrides={"optim.lr": 0.04})
    ran(operator, "fine", 0.7, overrides={"optim.lr": 0.05}, health=90)
    found = what_worked(operator, "sft", TINY)
    assert names(found)[0] == (1, "fine")
    assert {one.job.name for one in found[3:]} == {"sick", "odd"}
    assert [one.job.name for one in best(found, 3)] == ["fine"]


def test_the_metric_on_held_out_data_decides_where_there_is_one(operator):
    ran(operator, "learned by heart", 0.1, overrides={"optim.lr": 0.01}, **{"val/loss": 2.0})
    ran(operator, "understood", 0.4, overrides={"optim.lr": 0.02}, **{"val/loss": 0.5})
    found = what_worked(operator, "sft", TINY)
    assert names(found) == [(1, "understood"), (2, "learned by heart")]
    assert (found[0].metric, found[0].value, found[0].higher_is_better) == ("val/loss", 0.5, False)


def test_the_same_run_again_is_counted_and_its_best_is_told(operator):
    ran(operator, "first", 0.5)
    ran(operator, "better", 0.4)
    # The very value that the recipe has is no difference.
    ran(operator, "again", 0.6, overrides={"optim.lr": 0.001})
    (only,) = what_worked(operator, "sft", TINY)
    assert (only.job.name, only.runs) == ("better", 3)


def test_each_dataset_has_a_ranking_of_its_own(operator):
    ran(operator, "sums", 0.5)
    ran(operator, "others", 0.1, overrides={"optim.lr": 0.01})
    other = what_worked(operator, "sft", TINY)[0].job.dataset_version
    dataset = other.dataset
    dataset.pk, dataset.slug = None, "elsewhere"
    dataset.save()
    other.pk, other.dataset = None, dataset
    other.save()
    Job.objects.filter(name="others").update(dataset_version=other)
    assert sorted(names(what_worked(operator, "sft", TINY))) == [(1, "others"), (1, "sums")]


def test_another_model_and_another_method_are_not_there(operator):
    ran(operator, "tiny", 0.5)
    ran(operator, "small", 0.4, recipe="smollm2-sft")
    assert names(what_worked(operator, "sft", "builtin:smollm2-135m")) == [(1, "small")]
    assert len(what_worked(operator, "sft")) == 2
    assert what_worked(operator, "dpo", TINY) == []


def test_who_may_see_no_runs_is_told_of_none(operator):
    ran(operator, "mine", 0.5)
    assert names(what_worked(alice(), "sft", TINY)) == [(1, "mine")]
    assert what_worked(dora(), "sft", TINY) == []


def test_the_api_gives_each_with_its_evidence(operator):
    job = ran(operator, "good", 0.2, overrides={"optim.lr": 0.02}, health=88)
    (told,) = program(alice()).get(URL, {"algorithm": "sft", "base_model": TINY}).json()["results"]
    revision = RecipeRevision.objects.get(recipe__slug="tiny-sft")
    assert told["job"] == str(job.pk)
    assert (told["recipe"], told["recipe_revision"], told["dataset"]) == ("tiny-sft", 1, "arithmetic@1")
    assert told["metric"] == {"name": "train/loss", "value": 0.2, "better": "lower"}
    assert (told["health_score"], told["runs"], told["rank"], told["final_step"]) == (88, 1, 1, 48)
    assert told["params"]["optim.lr"] == 0.02
    assert set(told["params"]) <= set(revision.params)
    # Named by the recipe, and the trainer's own default all the same.
    assert revision.params["model.use_remove_padding"] is False
    assert told["params"]["data.train_batch_size"] == 16


@pytest.mark.parametrize("query", [{}, {"algorithm": "none"}])
def test_an_algorithm_that_there_is_not_is_refused(installed, query):
    answer = program(alice()).get(URL, query)
    assert answer.status_code == 422
    assert "sft, dpo, grpo" in answer.json()["error"]["message"]


def test_more_runs_take_no_more_queries(operator):
    def asked():
        with CaptureQueriesContext(connection) as captured:
            assert what_worked(operator, "sft", TINY)
        return len(captured)

    ran(operator, "one", 0.5)
    few = asked()
    for n in range(5):
        ran(operator, f"more {n}", 0.5, overrides={"optim.lr": 0.01 * (n + 1)})
    assert asked() == few
