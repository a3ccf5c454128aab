"""A preprocessing stage under a real runner: what it leaves in the store, and how far it says it is."""

import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.utils import timezone

from datasets.models import Dataset, DatasetVersion
from datasets.services import datasets as dataset_services
from datasets.services import store
from datasets.services.validate import Report
from environments.models import Host
from environments.transports import for_host
from pipelines.kinds import kind_of
from pipelines.models import Attempt, Pipeline, Stage
from pipelines.selectors import stage_progress
from pipelines.services import cancel
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline, problems
from pipelines.services.progress import keep_progress
from pipelines.services.reconcile import reconcile
from pipelines.states import StageStatus
from platform_runtime.contract import StatusFile
from tests.datasets.files import conversation, jsonl, sums

from . import builders
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)


def dataset(content: bytes, slug: str = "raw", **fields: Any) -> Dataset:
    made = Dataset.objects.create(project=builders.project(), slug=slug, name=slug, kind="sft", **fields)
    store.add_version(made, io.BytesIO(content))
    return made


def unchecked(content: bytes, slug: str = "raw") -> Dataset:
    """A version that nobody checked, as an older platform may have taken it in."""
    made = Dataset.objects.create(project=builders.project(), slug=slug, name=slug, kind="sft")
    sha256 = hashlib.sha256(content).hexdigest()
    store.adopt(made, io.BytesIO(content), sha256=sha256, report=Report(rows=content.count(b"\n")))
    return made


def preprocess(hands: Hands, *below: StageSpec, name: str = "prep", **params: Any) -> Stage:
    """Run a preprocessing stage to its end."""
    stage = begun(hands, *below, name=name, **params)
    hands.until(stage)
    return stage


def begun(hands: Hands, *below: StageSpec, name: str = "prep", **fields: Any) -> Stage:
    retries = fields.pop("max_retries", 0)
    spec = PipelineSpec("p", [StageSpec(name, "preprocess_dataset", fields, max_retries=retries), *below])
    pipeline = create_pipeline(user=builders.person(), spec=spec, start=True)
    stage = Stage.objects.get(pipeline=pipeline, name=name)
    hands.launch(stage)
    return stage


def content(version: str) -> bytes:
    slug, _at, number = version.partition("@")
    found = DatasetVersion.objects.get(dataset__slug=slug, number=number)
    return store.path_of(found.sha256, found.format).read_bytes()


def test_a_cleaned_dataset_is_a_new_version_with_its_numbers(hands: Hands) -> None:
    dataset(jsonl(conversation(" 1+1?", "2 "), conversation("1+1?", "2"), conversation("2+2?", "4")))
    stage = preprocess(hands, dataset="raw")
    assert stage.status == "completed", stage.error_message
    assert stage.result is not None
    told = {name: stage.result[name] for name in ("dataset_version", "rows_in", "rows_out", "dropped")}
    assert told == {"dataset_version": "raw@2", "rows_in": 3, "rows_out": 2, "dropped": 1}
    assert "validation_version" not in stage.result
    made = content("raw@2")
    assert hashlib.sha256(made).hexdigest() == stage.result["sha256"]
    assert [json.loads(line) for line in made.splitlines()] == [conversation("1+1?", "2"), conversation("2+2?", "4")]
    version = DatasetVersion.objects.get(dataset__slug="raw", number=2)
    assert store.verify(version).ok
    assert (version.rows, version.columns, version.stats["turns"]) == (2, ["messages"], 4)


def test_the_same_again_is_the_same_content_and_no_new_version(hands: Hands) -> None:
    dataset(jsonl(conversation(" 1+1?", "2 "), conversation("2+2?", "4"), conversation("3+3?", "6")))
    first = preprocess(hands, dataset="raw@1", output="clean", validation_fraction=0.4)
    second = preprocess(hands, dataset="raw@1", output="clean", validation_fraction=0.4)
    assert first.result == second.result
    assert DatasetVersion.objects.count() == 3


def test_what_is_clean_already_stays_the_version_it_is(hands: Hands) -> None:
    dataset(sums(20))
    stage = preprocess(hands, dataset="raw")
    assert stage.result is not None
    assert stage.result["dataset_version"] == "raw@1"


def test_a_split_goes_to_a_dataset_of_its_own(hands: Hands) -> None:
    dataset(sums(50))
    stage = preprocess(hands, dataset="raw", output="ready", validation_fraction=0.1, seed=7)
    assert stage.result is not None
    assert (stage.result["dataset_version"], stage.result["validation_version"]) == ("ready@1", "ready-val@1")
    assert (stage.result["rows_out"], stage.result["validation_rows"]) == (50, 5)
    both = content("ready@1").splitlines() + content("ready-val@1").splitlines()
    assert sorted(both) == sorted(sums(50).splitlines())
    assert Dataset.objects.get(slug="ready-val").kind == "sft"


def test_the_stage_below_takes_the_version_by_its_name(hands: Hands) -> None:
    dataset(sums(9))
    below = StageSpec(
        "again",
        "preprocess_dataset",
        {"dataset": "{{ stages.prep.result.dataset_version }}", "output": "shorter", "max_chars": 5},
        ("prep",),
    )
    stage = preprocess(hands, below, dataset="raw", output="first")
    again = Stage.objects.get(pipeline=stage.pipeline, name="again")
    hands.launch(again)
    assert hands.until(again) == "completed", again.error_message
    assert again.result is not None
    assert again.result["dataset_version"] == "shorter@1"


def test_bad_rows_are_counted_and_the_first_quoted_with_their_line(hands: Hands) -> None:
    unchecked(sums(2) + b"{broken\n\n" + sums(3)[-20:] + sums(5))
    stage = preprocess(hands, dataset="raw", output="clean")
    assert stage.status == "completed", stage.error_message
    assert stage.result is not None
    bad = stage.result["statistics"]["bad_rows"]
    assert (bad[0]["line"], bad[0]["excerpt"]) == (3, "{broken")
    assert bad[1]["line"] == 4
    assert stage.result["rows_in"] == stage.result["rows_out"] + stage.result["dropped"]


def test_a_dataset_that_cannot_be_used_fails_with_the_reason_and_is_not_tried_again(hands: Hands) -> None:
    unchecked(b"{broken\n")
    stage = preprocess(hands, dataset="raw", output="clean", max_retries=3)
    assert stage.status == "failed"
    assert stage.error_message.startswith("None of the 1 rows is left. Line 1: not JSON: Expecting property name")
    assert Attempt.objects.filter(stage=stage).count() == 1
    assert not Dataset.objects.filter(slug="clean").exists()


def test_a_version_chosen_at_the_start_stays_the_one(hands: Hands) -> None:
    made = dataset(sums(4))
    spec = PipelineSpec("p", [StageSpec("prep", "preprocess_dataset", {"dataset": "raw", "output": "out"})])
    pipeline = create_pipeline(user=builders.person(), spec=spec, start=True)
    store.add_version(made, io.BytesIO(sums(9)))
    stage = Stage.objects.get(pipeline=pipeline)
    hands.launch(stage)
    hands.until(stage)
    assert stage.result is not None
    assert stage.result["rows_in"] == 4


def test_a_damaged_file_is_never_worked_on(hands: Hands) -> None:
    made = dataset(sums(4))
    version = made.versions.get()
    store.path_of(version.sha256, version.format).write_bytes(sums(5))
    stage = preprocess(hands, dataset="raw", output="out")
    assert stage.status == "failed"
    assert "is damaged" in stage.error_message


def test_an_output_that_was_changed_on_its_way_is_refused(hands: Hands) -> None:
    dataset(sums(4))
    stage = begun(hands, dataset="raw", output="out", min_chars=1)
    attempt = hands.attempt(stage)
    made = Path(attempt.folder) / "output" / "train.jsonl"
    end = time.monotonic() + 20
    while not (Path(attempt.folder) / "exit.json").exists() and time.monotonic() < end:
        time.sleep(0.02)
    made.write_bytes(made.read_bytes() + sums(1))
    # The content is known as raw@1 under another name, and must still come from this file for `out`.
    hands.until(stage)
    assert stage.status == "failed"
    assert "not what the program" in stage.error_message


def test_two_observers_at_the_end_make_one_version(hands: Hands) -> None:
    dataset(jsonl(conversation(" 1+1?", "2 ")))
    stage = begun(hands, dataset="raw")
    attempt = hands.attempt(stage)
    end = time.monotonic() + 20
    while not (Path(attempt.folder) / "exit.json").exists() and time.monotonic() < end:
        time.sleep(0.02)
    kind = kind_of("preprocess_dataset")
    verdicts = [kind.judge(stage, attempt, {"code": 0}, for_host(hands.host)) for _observer in range(2)]  # type: ignore[attr-defined]  # a RunnerKind
    hands.until(stage)
    assert [verdict.result for verdict in verdicts] == [stage.result] * 2
    assert DatasetVersion.objects.filter(dataset__slug="raw").count() == 2


def test_a_cancelled_one_makes_no_version(hands: Hands) -> None:
    big = b"".join(jsonl(conversation(f"{number} " + "x" * 20_000, "y ")) for number in range(3000))
    dataset(big)
    stage = begun(hands, dataset="raw")
    hands.until(stage, StageStatus.RUNNING)
    cancel.cancel_stage(stage.id, user=builders.person())
    assert hands.until(stage) == "cancelled"
    assert DatasetVersion.objects.filter(dataset__slug="raw").count() == 1


def test_rows_done_are_its_progress_and_unknown_stays_unknown(hands: Hands) -> None:
    dataset(b"".join(jsonl(conversation(f"{number} " + "x" * 20_000, "y ")) for number in range(3000)))
    stage = begun(hands, dataset="raw")
    before = stage_progress(stage)
    assert (before.step, before.fraction, before.eta_s) == (None, None, None)
    seen = hands.wait(lambda: stage_progress(Stage.objects.get(pk=stage.pk)).step)
    now = stage_progress(Stage.objects.get(pk=stage.pk))
    assert 0 < seen <= 3000
    assert (now.target_step, now.unit) == (3000, "rows")
    assert now.fraction is not None
    hands.until(stage)
    ended = stage_progress(stage)
    assert (ended.fraction, ended.step, ended.eta_s) == (1.0, 3000, None)


def told(done: int | None, total: int | None, at: float, pace_s: float | None = None) -> dict[str, Any]:
    return {"now": timezone.now().timestamp(), "status": StatusFile(
        "running", done, total, "rows", at, at, False, None, None, pace_s
    ).to_json()}  # fmt: skip


def test_what_is_left_is_told_by_the_programs_own_pace(machine: Host) -> None:
    stage = builders.stage(StageStatus.RUNNING, kind="preprocess_dataset", queue="preprocessing")
    attempt = Attempt.objects.select_related("stage").get(stage=stage)
    now = timezone.now().timestamp()
    assert keep_progress(attempt, told(50, 100, now - 1))
    assert stage_progress(Stage.objects.get(pk=stage.pk)).eta_s is None
    assert keep_progress(attempt, told(60, 100, now, pace_s=10.0))
    left = stage_progress(Stage.objects.get(pk=stage.pk)).eta_s
    assert left is not None
    assert 300 < left <= 400


def test_a_late_word_and_a_senseless_one_change_nothing(machine: Host) -> None:
    stage = builders.stage(StageStatus.RUNNING, kind="preprocess_dataset", queue="preprocessing")
    attempt = Attempt.objects.select_related("stage").get(stage=stage)
    now = timezone.now().timestamp()
    assert keep_progress(attempt, told(50, 100, now - 1))
    assert not keep_progress(attempt, told(40, 100, now - 3))
    for nonsense in ({}, {"status": None}, {"status": {"state": "dancing"}}, told(None, 5, now), told(-1, 5, now)):
        assert not keep_progress(attempt, nonsense)
    attempt.refresh_from_db()
    assert not keep_progress(attempt, told(50, 100, now))
    assert (attempt.progress_done, attempt.progress_total, attempt.progress_unit) == (50, 100, "rows")
    half = stage_progress(stage)
    assert half.fraction == 0.5
    assert keep_progress(attempt, told(60, None, now))
    assert stage_progress(stage).fraction is None


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "dataset"),
        ({"dataset": "no-such"}, "dataset"),
        ({"dataset": "raw@9"}, "dataset"),
        ({"dataset": "raw", "output": "../out"}, "output"),
        ({"dataset": "raw", "output": "fixed"}, "output"),
        ({"dataset": "fixed"}, "output"),
        ({"dataset": "raw", "output": "x" * 62, "validation_fraction": 0.1}, "output"),
        ({"dataset": "raw", "validation_fraction": 0.6}, "validation_fraction"),
        ({"dataset": "raw", "validation_fraction": float("nan")}, "validation_fraction"),
        ({"dataset": "raw", "validation_fraction": True}, "validation_fraction"),
        ({"dataset": "raw", "clean": "yes"}, "clean"),
        ({"dataset": "raw", "seed": 1.5}, "seed"),
        ({"dataset": "raw", "min_chars": -1}, "min_chars"),
        ({"dataset": "raw", "min_chars": 5, "max_chars": 4}, "max_chars"),
        ({"dataset": "raw", "shuffle": True}, "shuffle"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(machine: Host, params: dict[str, Any], field: str) -> None:
    dataset(sums(3))
    dataset(sums(3), "fixed", is_builtin=True)
    found = problems(builders.person(), PipelineSpec("p", [StageSpec("prep", "preprocess_dataset", params)]))
    assert f"stages.0.params.{field}" in found, found


def test_it_waits_in_its_own_queue(machine: Host) -> None:
    dataset(sums(3))
    spec = PipelineSpec("p", [StageSpec("prep", "preprocess_dataset", {"dataset": "raw"})])
    pipeline: Pipeline = create_pipeline(user=builders.person(), spec=spec)
    assert Stage.objects.get(pipeline=pipeline).queue == "preprocessing"
    assert reconcile() == []


def test_what_the_store_takes_by_hand_and_by_stage_is_described_alike(hands: Hands) -> None:
    dataset(jsonl(conversation(" 1+1?", "2 ", level=1), conversation("2+2?", "4", level=None)))
    preprocess(hands, dataset="raw", output="by-stage")
    by_stage = DatasetVersion.objects.get(dataset__slug="by-stage")
    by_hand = dataset_services.add_version(
        user=builders.person(),
        dataset=Dataset.objects.create(project=builders.project(), slug="by-hand", name="x", kind="sft"),
        file=io.BytesIO(content("by-stage@1")),
    )
    assert (by_hand.sha256, by_hand.rows, by_hand.columns, by_hand.stats) == (
        by_stage.sha256, by_stage.rows, by_stage.columns, by_stage.stats,
    )  # fmt: skip


def test_a_killed_program_is_tried_again_and_one_version_comes_of_it(hands: Hands) -> None:
    dataset(b"".join(jsonl(conversation(f"{number} " + "x" * 20_000, "y ")) for number in range(3000)))
    stage = begun(hands, dataset="raw", output="out", max_retries=1)
    attempt = hands.attempt(stage)
    hands.until(stage, StageStatus.RUNNING)
    attempt.refresh_from_db()
    psutil.Process(attempt.handle["child_pid"]).kill()
    hands.until(stage, StageStatus.QUEUED)
    Stage.objects.filter(pk=stage.pk).update(not_before=None)
    hands.launch(stage)
    assert hands.until(stage) == "completed", stage.error_message
    assert [one.number for one in DatasetVersion.objects.filter(dataset__slug="out")] == [1]
    assert list(Attempt.objects.filter(stage=stage).values_list("outcome", flat=True)) == ["failed", "succeeded"]
