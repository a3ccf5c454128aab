"""What a clean-up keeps, removes and leaves alone; on real folders, beside a process that writes."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments.models import Host
from environments.transports import for_host
from monitoring.models import Stream
from monitoring.services.sync import open_segment, sync_stream
from pipelines.folders import attempt_path, run_folder
from pipelines.models import Attempt, Job, Pipeline, Recipe, RecipeRevision, Stage
from pipelines.retention import Checkpoint, staying
from pipelines.services import launch
from pipelines.services.create import PipelineSpec, StageSpec, problems
from pipelines.states import PipelineStatus, StageStatus
from tests.runtime.checkpoint_files import write_step

from . import builders
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)


class Trained:
    """A training stage with what its attempts left."""

    def __init__(self, host: Host, pipeline: Pipeline, name: str = "train") -> None:
        self.host = host
        self.stage = builders.stage(StageStatus.COMPLETED, of=pipeline, name=name)
        Attempt.objects.filter(stage=self.stage).delete()
        Stream.objects.create(id=self.stage.id, project=builders.project())

    def attempt(self, number: int, steps: dict[int, float | None], outcome: str = "succeeded") -> Attempt:
        """Steps with a checkpoint, and the value of val/loss logged there."""
        attempt = Attempt.objects.create(
            stage=self.stage,
            number=number,
            host=self.host,
            folder=attempt_path(self.host.root, self.stage.id, number),
            launch_token=f"t{number}",
            outcome=outcome,
        )
        folder = run_folder(attempt)
        Path(folder.metrics_dir).mkdir(parents=True)
        lines = []
        for step, value in steps.items():
            write_step(Path(folder.checkpoints), step, world=1)
            metrics = {"train/loss": 1.0, **({"val/loss": value} if value is not None else {})}
            lines.append(json.dumps({"v": 1, "step": step, "time": 1.0, "metrics": metrics}))
        Path(folder.metrics).write_text("".join(f"{line}\n" for line in lines))
        open_segment(self.stage.id, attempt=number, path=folder.metrics)
        sync_stream(self.stage.id, for_host(self.host))
        return attempt

    def left(self, attempt: Attempt) -> list[int]:
        return sorted(
            int(path.name.removeprefix("global_step_"))
            for path in Path(run_folder(attempt).checkpoints).glob("global_step_*")
        )


@pytest.fixture
def trained(machine: Host) -> Trained:
    return Trained(machine, builders.pipeline(PipelineStatus.PENDING))


def clean(hands: Hands, trained: Trained, name: str = "clean", **params: Any) -> Stage:
    """Run a clean-up stage below the training, to its end."""
    pipeline = trained.stage.pipeline
    stage = Stage.objects.create(
        pipeline=pipeline, name=name, order=9, kind="cleanup_checkpoints", queue="maintenance", params=params
    )
    stage.depends_on.add(trained.stage)
    Pipeline.objects.filter(pk=pipeline.pk).update(status=PipelineStatus.PENDING)
    hands.begin(pipeline)
    hands.launch(stage)
    stage.refresh_from_db()
    return stage


def steps(told: list[dict[str, Any]]) -> list[int]:
    return [one["step"] for one in told]


def test_the_newest_stay_and_the_rest_is_freed(hands: Hands, trained: Trained) -> None:
    attempt = trained.attempt(1, {4: None, 8: None, 12: None, 16: None})
    stage = clean(hands, trained, keep_last=2)
    assert stage.status == "completed", stage.error_message
    assert stage.result is not None
    assert (steps(stage.result["kept"]), steps(stage.result["removed"])) == ([12, 16], [4, 8])
    assert stage.result["bytes_freed"] == sum(one["size"] for one in stage.result["removed"]) > 10_000
    assert trained.left(attempt) == [12, 16]


def test_the_best_by_a_metric_stay_as_well(hands: Hands, trained: Trained) -> None:
    attempt = trained.attempt(1, {4: 0.9, 8: 0.2, 12: 0.3, 16: 0.8})
    stage = clean(hands, trained, keep_last=1, keep_best=1, metric="val/loss")
    assert stage.status == "completed", stage.error_message
    assert trained.left(attempt) == [8, 16]


def test_the_largest_is_the_best_where_it_is_said(hands: Hands, trained: Trained) -> None:
    attempt = trained.attempt(1, {4: 0.9, 8: 0.2, 12: 0.3, 16: 0.8})
    clean(hands, trained, keep_last=1, keep_best=1, metric="val/loss", mode="max")
    assert trained.left(attempt) == [4, 16]


def test_a_metric_that_nobody_logged_removes_nothing_and_says_which_there_are(hands: Hands, trained: Trained) -> None:
    attempt = trained.attempt(1, {4: 0.9, 8: 0.2})
    stage = clean(hands, trained, keep_last=1, keep_best=1, metric="val/los")
    assert stage.status == "failed"
    assert "train/loss, val/loss" in stage.error_message
    assert trained.left(attempt) == [4, 8]


def test_a_dry_run_removes_nothing_and_says_what_it_would(hands: Hands, trained: Trained) -> None:
    attempt = trained.attempt(1, {4: None, 8: None, 12: None})
    dry = clean(hands, trained, keep_last=1, dry_run=True)
    assert trained.left(attempt) == [4, 8, 12]
    real = clean(hands, trained, "really", keep_last=1)
    assert dry.result is not None
    assert real.result == {**dry.result, "dry_run": False}
    assert trained.left(attempt) == [12]


def test_again_it_finds_nothing_more_to_do(hands: Hands, trained: Trained) -> None:
    trained.attempt(1, {4: None, 8: None})
    clean(hands, trained, keep_last=1)
    again = clean(hands, trained, "again", keep_last=1)
    assert again.result is not None
    assert (steps(again.result["kept"]), again.result["removed"], again.result["bytes_freed"]) == ([8], [], 0)


def test_what_cannot_be_loaded_is_told_and_left_and_never_counts(hands: Hands, trained: Trained) -> None:
    attempt = trained.attempt(1, {4: None, 8: None, 12: None})
    shard = Path(run_folder(attempt).checkpoints) / "global_step_12/model_world_size_1_rank_0.pt"
    shard.write_bytes(shard.read_bytes()[:100])
    stage = clean(hands, trained, keep_last=1)
    assert stage.result is not None
    assert (steps(stage.result["kept"]), steps(stage.result["removed"])) == ([8], [4])
    assert steps(stage.result["broken"]) == [12]
    assert trained.left(attempt) == [8, 12]


def test_attempts_of_one_training_count_together(hands: Hands, trained: Trained) -> None:
    first = trained.attempt(1, {4: None, 8: None}, outcome="failed")
    second = trained.attempt(2, {8: None, 12: None})
    clean(hands, trained, keep_last=2)
    assert (trained.left(first), trained.left(second)) == ([], [8, 12])


WRITER = """
import sys
from pathlib import Path
from tests.runtime.checkpoint_files import write_step
step = 20
while True:
    write_step(Path(sys.argv[1]), step, world=1)
    step += 4
"""


@pytest.fixture
def writer(trained: Trained) -> Iterator[Attempt]:
    """An attempt that still runs, with a real process that writes one checkpoint after the other."""
    attempt = trained.attempt(2, {16: None}, outcome="")
    Attempt.objects.filter(pk=attempt.pk).update(resumed_from_step=8)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, run_folder(attempt).checkpoints], cwd=Path(__file__).parents[2]
    )
    yield attempt
    process.kill()
    process.wait()


def test_a_training_that_still_writes_is_left_alone(hands: Hands, trained: Trained, writer: Attempt) -> None:
    first = trained.attempt(1, {4: None, 8: None, 12: None}, outcome="lost")
    end = time.monotonic() + 10
    while len(trained.left(writer)) < 5 and time.monotonic() < end:
        time.sleep(0.02)
    before = trained.left(writer)
    assert len(before) >= 5
    for number in range(3):
        stage = clean(hands, trained, f"clean-{number}", keep_last=1)
        assert stage.status == "completed", stage.error_message
    # 12 is where a retry would begin, 8 where the running attempt began.
    assert trained.left(first) == [8, 12]
    assert set(before) <= set(trained.left(writer))


def test_the_runs_own_list_follows(hands: Hands, trained: Trained) -> None:
    attempt = trained.attempt(1, {4: None, 8: None})
    recipe = Recipe.objects.create(project=builders.project(), slug="r", name="R", algorithm="sft")
    revision = RecipeRevision.objects.create(recipe=recipe, number=1, base_model="m")
    folder = run_folder(attempt).checkpoints
    job = Job.objects.create(
        id=trained.stage.id,
        stage=trained.stage,
        stream_id=trained.stage.id,
        project=builders.project(),
        name="j",
        recipe_revision=revision,
        checkpoints=[{"step": step, "path": f"{folder}/global_step_{step}"} for step in (4, 8)],
    )
    clean(hands, trained, keep_last=1)
    job.refresh_from_db()
    assert [one["step"] for one in job.checkpoints] == [8]


def test_a_link_out_of_the_run_fails_with_a_word_and_touches_nothing(
    hands: Hands, trained: Trained, tmp_path: Path
) -> None:
    attempt = trained.attempt(1, {4: None, 8: None})
    inside = Path(run_folder(attempt).checkpoints)
    inside.rename(tmp_path / "outside")
    inside.symlink_to(tmp_path / "outside")
    stage = clean(hands, trained, keep_last=1)
    assert stage.status == "failed"
    assert "a symbolic link stands where a file or folder should be" in stage.error_message
    assert len(list((tmp_path / "outside").iterdir())) == 2


def test_only_the_named_training_is_cleaned(hands: Hands, trained: Trained) -> None:
    other = Trained(trained.host, trained.stage.pipeline, "other")
    here, there = trained.attempt(1, {4: None, 8: None}), other.attempt(1, {4: None, 8: None})
    stage = clean(hands, trained, of=str(other.stage.id), keep_last=1)
    assert stage.status == "completed", stage.error_message
    assert (trained.left(here), other.left(there)) == ([4, 8], [8])
    assert clean(hands, trained, "by-name", of="train", keep_last=1).status == "completed"
    assert trained.left(here) == [8]
    unknown = clean(hands, trained, "unknown", of="tran", keep_last=1)
    assert "no training stage tran" in unknown.error_message


def test_fifty_deliveries_clean_once(hands: Hands, trained: Trained) -> None:
    trained.attempt(1, {4: None, 8: None})
    stage = clean(hands, trained, keep_last=1)
    assert [launch.launch(hands.attempt(stage).id) for _delivery in range(50)].count(True) == 0


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "keep_last"),
        ({"keep_last": 0}, "keep_last"),
        ({"keep_last": True}, "keep_last"),
        ({"keep_last": 1, "keep_best": 1}, "metric"),
        ({"keep_last": 1, "keep_best": -1, "metric": "x"}, "keep_best"),
        ({"keep_last": 1, "mode": "least"}, "mode"),
        ({"keep_last": 1, "dry_run": "yes"}, "dry_run"),
        ({"keep_last": 1, "folder": "/"}, "folder"),
        ({"keep_last": 1, "of": "../train"}, "of"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(machine: Host, params: dict[str, Any], field: str) -> None:
    spec = PipelineSpec(
        "p", [StageSpec("train", "noop"), StageSpec("clean", "cleanup_checkpoints", params, ("train",))]
    )
    told = problems(builders.person(), spec)
    assert f"stages.1.params.{field}" in told


def test_without_a_training_above_there_is_nothing_to_clean(machine: Host) -> None:
    told = problems(builders.person(), PipelineSpec("p", [StageSpec("clean", "cleanup_checkpoints", {"keep_last": 1})]))
    assert "No training stands above" in told["stages.0.params.of"]


CHECKPOINTS = st.lists(
    st.builds(
        Checkpoint,
        attempt=st.integers(1, 3),
        step=st.integers(0, 20),
        ok=st.booleans(),
        value=st.none() | st.floats(),
    ),
    unique_by=lambda one: (one.attempt, one.step),
)


@given(found=CHECKPOINTS, last=st.integers(0, 4), best=st.integers(0, 3), mode=st.sampled_from(["min", "max"]))
def test_whatever_is_asked_the_newest_good_one_stays(found: list[Checkpoint], last: int, best: int, mode: str) -> None:
    stays = staying(found, keep_last=last, keep_best=best, mode=mode)
    good = sorted((one for one in found if one.ok), key=lambda one: one.age)
    assert set(good[-max(1, last) :]) <= stays
    assert {one for one in found if not one.ok} <= stays
    assert len([one for one in stays if one.ok]) <= max(1, last) + best
