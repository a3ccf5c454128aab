"""What a training loop tells the platform: one line a step, and a status file."""

import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_runtime.callback import PlatformCallback, TrainerCallback, TrainingStopped
from platform_runtime.contract import MetricLine, StatusFile

from .runs import until


@pytest.fixture
def callback(tmp_path: Path) -> Iterator[PlatformCallback]:
    made = PlatformCallback("u", str(tmp_path / "metrics"), target_step=12)
    made.begin()
    yield made
    made.end()


def lines(callback: PlatformCallback) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(callback.metrics_path).read_text().splitlines()]


def status(callback: PlatformCallback) -> StatusFile:
    return StatusFile.from_bytes(Path(callback.status_path).read_bytes())


def test_each_step_is_a_line_at_once(callback: PlatformCallback) -> None:
    before = time.time()
    for step in (1, 2):
        callback.step(step, {"train/loss": 2.0 / step, "train/tokens": 588})
        written = lines(callback)
        assert len(written) == step
    assert written[1]["v"] == 1
    assert written[1]["step"] == 2
    assert written[1]["metrics"] == {"train/loss": 1.0, "train/tokens": 588}
    assert before <= written[1]["time"] <= time.time()
    assert "anomaly" not in written[1]
    assert MetricLine.from_json(written[1]).step == 2


def test_numbers_that_are_not_finite_are_texts(callback: PlatformCallback) -> None:
    callback.step(1, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5})
    assert lines(callback)[0]["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 1.5}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (numpy.float64(0.5), 0.5),
        (numpy.float32(0.5), 0.5),
        (numpy.int64(3), 3),
        (numpy.array(2.5), 2.5),
        (numpy.array([2.5]), None),
        (True, 1),
        (10**400, None),
        ("text", None),
        (None, None),
        ([1.0], None),
        ({"x": 1}, None),
        (object(), None),
    ],
)
def test_scalars_of_any_library_are_numbers_and_the_rest_is_left_out(
    callback: PlatformCallback, value: Any, written: float | None
) -> None:
    callback.step(1, {"x": value, "y": 1.0})
    metrics = lines(callback)[0]["metrics"]
    assert metrics.pop("y") == 1.0
    assert metrics == ({} if written is None else {"x": written})


@given(
    metrics=st.dictionaries(
        st.text(max_size=20),
        st.floats(width=64) | st.integers() | st.text(max_size=5) | st.none() | st.booleans(),
        max_size=8,
    )
)
def test_whatever_is_logged_the_line_is_valid(
    tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, Any]
) -> None:
    made = PlatformCallback("u", str(tmp_path_factory.mktemp("metrics")))
    made.step(1, {"before": 1.0})
    made.step(2, metrics)
    made.end()
    content = Path(made.metrics_path).read_bytes()
    (line,) = content.splitlines()[1:]
    parsed = json.loads(line, parse_constant=pytest.fail)
    for name, value in parsed["metrics"].items():
        assert isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity"), (name, value)


def test_the_status_tells_start_progress_and_end(callback: PlatformCallback) -> None:
    first = status(callback)
    assert (first.state, first.step, first.target_step, first.unit) == ("running", None, 12, "step")
    callback.step(3, {"train/loss": 1.0})
    until(lambda: status(callback).step == 3, 5)
    callback.end()
    last = status(callback)
    assert (last.state, last.step, last.has_anomaly) == ("finished", 3, False)


def test_the_status_is_written_at_most_once_a_second_by_steps(callback: PlatformCallback) -> None:
    seen = set()
    end = time.monotonic() + 1.5
    step = 0
    while time.monotonic() < end:
        step += 1
        callback.step(step, {"train/loss": 1.0})
        seen.add(Path(callback.status_path).stat().st_ino)
    assert len(seen) <= 3


def test_an_anomaly_is_in_the_line_and_in_the_status_at_once(callback: PlatformCallback) -> None:
    callback.step(7, {"train/loss": math.nan})
    assert lines(callback)[0]["anomaly"] == {"type": "nan_inf", "message": "train/loss is nan"}
    now = status(callback)
    assert (now.step, now.has_anomaly, now.anomaly_type) == (7, True, "nan_inf")
    callback.step(8, {"train/loss": 1.0})
    assert "anomaly" not in lines(callback)[1]
    callback.end()
    assert status(callback).has_anomaly


@pytest.mark.parametrize(
    ("metrics", "kind"),
    [({"train/loss": math.nan}, "nan_inf"), ({"actor/kl_loss": 5.0}, "kl_explosion"), ({"kl": 2.5}, "")],
)
def test_a_critical_anomaly_ends_the_training_where_that_is_asked_for(
    tmp_path: Path, metrics: dict[str, float], kind: str
) -> None:
    environment = {"ANNEAL_JOB_UUID": "u", "ANNEAL_METRICS_DIR": str(tmp_path), "ANNEAL_STOP_ON_CRITICAL": "1"}
    stopping = PlatformCallback.from_environment(environment)
    assert stopping is not None
    with stopping:
        stopping.step(1, {"train/loss": 1.0})
        if kind:
            with pytest.raises(TrainingStopped, match=f"{kind} at step 2"):
                stopping.step(2, metrics)
        else:
            stopping.step(2, metrics)
    assert [line["step"] for line in lines(stopping)] == [1, 2], "it is written down first"


def test_the_threshold_of_the_platform_counts_in_the_training_too(tmp_path: Path) -> None:
    environment = {"ANNEAL_JOB_UUID": "u", "ANNEAL_METRICS_DIR": str(tmp_path), "ANNEAL_STOP_ON_CRITICAL": "1"}
    for threshold, stops in (("2", False), ("0.5", True), ("none", True)):
        made = PlatformCallback.from_environment({**environment, "ANNEAL_KL_THRESHOLD": threshold})
        assert made is not None
        with made:
            if stops:
                with pytest.raises(TrainingStopped):
                    made.step(1, {"actor/kl_loss": 6.0})
            else:
                made.step(1, {"actor/kl_loss": 6.0})


def test_nothing_is_stopped_unless_asked_for(callback: PlatformCallback) -> None:
    callback.step(1, {"train/loss": math.nan})
    assert len(lines(callback)) == 1


def test_a_failure_is_told(tmp_path: Path) -> None:
    made = PlatformCallback("u", str(tmp_path))
    with pytest.raises(ZeroDivisionError), made:
        made.step(1, {"train/loss": 1 / 0})
    assert status(made).state == "failed"
    made.end()
    assert status(made).state == "failed"


def test_the_target_of_the_trainer_counts_where_the_platform_named_none(tmp_path: Path) -> None:
    made = PlatformCallback("u", str(tmp_path))
    made.begin(target_step=40)
    made.end()
    assert status(made).target_step == 40


def test_half_a_line_of_an_earlier_process_stays_by_itself(tmp_path: Path) -> None:
    made = PlatformCallback("u", str(tmp_path))
    Path(made.metrics_path).write_text('{"v":1,"st')
    made.begin()
    made.step(5, {"train/loss": 1.0})
    made.step(6, {"train/loss": 1.0})
    made.end()
    first, *rest = Path(made.metrics_path).read_text().splitlines()
    assert first == '{"v":1,"st'
    assert [json.loads(line)["step"] for line in rest] == [5, 6]


def test_outside_the_platform_there_is_no_callback() -> None:
    assert PlatformCallback.from_environment({}) is None


def test_the_environment_names_run_folder_and_target(tmp_path: Path) -> None:
    environment = {"ANNEAL_JOB_UUID": "u", "ANNEAL_METRICS_DIR": str(tmp_path), "ANNEAL_TARGET_STEP": "9"}
    made = PlatformCallback.from_environment(environment)
    assert made is not None
    made.begin()
    made.end()
    assert status(made).target_step == 9


@pytest.mark.parametrize("target", ["", "None", "-1", "x"])
def test_a_target_that_is_none_is_unknown(tmp_path: Path, target: str) -> None:
    environment = {"ANNEAL_JOB_UUID": "u", "ANNEAL_METRICS_DIR": str(tmp_path), "ANNEAL_TARGET_STEP": target}
    made = PlatformCallback.from_environment(environment)
    assert made is not None
    made.begin()
    made.end()
    assert status(made).target_step is None


def test_a_folder_that_cannot_be_made_is_told_once_and_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    made = PlatformCallback("u", str(tmp_path / "file" / "metrics"))
    with caplog.at_level(logging.WARNING):
        made.begin()
        for step in range(100):
            made.step(step, {"train/loss": 1.0})
        made.end()
    told = [record.getMessage() for record in caplog.records]
    assert len([message for message in told if "metrics.jsonl" in message]) == 1
    assert made.dropped == 100


@pytest.mark.parametrize("metrics", [{"\ud800": 1.0}, {1: 1.0}, {"a": 1.0, None: 2.0}])
def test_odd_names_never_hurt_training(callback: PlatformCallback, metrics: dict[Any, Any]) -> None:
    callback.step(1, metrics)
    callback.step(2, {"train/loss": 1.0})
    assert lines(callback)[-1]["step"] == 2


def test_the_base_does_nothing() -> None:
    callback = TrainerCallback()
    with callback:
        callback.step(1, {})


def test_a_file_that_may_be_opened_later_is_opened_later(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    made = PlatformCallback("u", str(folder))
    made.step(1, {"train/loss": 1.0})
    folder.mkdir()
    made.step(2, {"train/loss": 1.0})
    made.step(3, {"train/loss": 1.0})
    made.end()
    assert [line["step"] for line in lines(made)] == [2, 3]
    assert made.dropped == 1
