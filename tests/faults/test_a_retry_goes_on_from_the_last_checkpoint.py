"""A training that dies is tried again from its last good checkpoint, and both attempts stay visible."""

from pathlib import Path

import pytest

from tests.processes import arguments

from .training_platform import TrainingPlatform

pytestmark = pytest.mark.timeout(400)


def checkpoints(platform: TrainingPlatform, uuid: str, attempt: int) -> set[str]:
    folder: Path = platform.data / "runs" / uuid / "checkpoints" / f"attempt-{attempt}"
    return {path.name for path in folder.glob("global_step_*") if (path / "data_0.pt").exists()}


def test_a_killed_training_resumes_and_its_chart_is_one_series(platform: TrainingPlatform) -> None:
    train = {"name": "train", "task": "train_model", "params": {"recipe": "tiny-sft"}, "max_retries": 1}
    pipeline = platform.api("POST", "pipelines/", {"name": "dies once", "start": True, "stages": [train]})
    uuid = pipeline["stages"][0]["job"]
    platform.until_step(uuid, 18)
    assert checkpoints(platform, uuid, 1) == {"global_step_16"}
    for process in platform.runs(uuid):
        if "platform_runtime.trainers" in " ".join(arguments(process)):
            process.terminate()

    job = platform.until(uuid, "completed", timeout_s=240)

    assert [(one["number"], one["resumed_from_step"]) for one in job["attempts"]] == [(1, None), (2, 16)]
    assert job["attempts"][0]["outcome"] == "failed"
    assert "global_step_16" in checkpoints(platform, uuid, 1), "nothing of the first attempt was overwritten"
    assert platform.runs(uuid) == []
    told = platform.api("GET", f"monitoring/{uuid}/metrics/?names=train/loss")
    assert [(one["attempt"], one["resumed_from"]) for one in told["segments"]] == [(1, None), (2, 16)]
    steps = [point[0] for point in told["series"]["train/loss"]]
    assert steps == list(range(1, job["target_step"] + 1))
    first, second = platform.written(uuid, 1), platform.written(uuid, 2)
    assert min(second) == 17
    series = {point[0]: point[1] for point in told["series"]["train/loss"]}
    assert all(series[step] == first[step]["train/loss"] for step in range(1, 17))
    assert all(series[step] == second[step]["train/loss"] for step in second)
