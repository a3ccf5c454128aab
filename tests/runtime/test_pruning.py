"""Checkpoints go only from inside their run, only whole, and never the last good one. Real folders and processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from platform_runtime import checkpoints, pruning

from .checkpoint_files import write_step
from .runs import RUNNER

PROGRAM = RUNNER.with_name("pruning.py")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose first attempt left the steps 4, 8 and 12."""
    run = tmp_path / "data folder" / "runs" / "a-run"
    for step in (4, 8, 12):
        write_step(run / "checkpoints" / "attempt-1", step)
    return run


def steps(run: Path, attempt: int = 1) -> list[int]:
    return sorted(checkpoints.steps(str(run / "checkpoints" / f"attempt-{attempt}")))


def spawn(task: str, **asked: Any) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-S", "-P", str(PROGRAM), task], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked).encode())
    process.stdin.close()
    return process


def answer(process: "subprocess.Popen[bytes]") -> Any:
    assert process.stdout is not None
    said = process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=20) == 0
    return json.loads(said)


def test_it_tells_what_is_there_and_what_can_be_loaded(run: Path) -> None:
    (run / "checkpoints/attempt-1/global_step_12/model_world_size_2_rank_1.pt").unlink()
    (run / "checkpoints/attempt-1/global_step_x").mkdir()
    found = pruning.survey(str(run), [1, 2])
    assert [(one.attempt, one.step, one.ok) for one in found] == [(1, 4, True), (1, 8, True), (1, 12, False)]
    assert "rank 1 of 2" in found[2].why
    on_disk = (run / "checkpoints/attempt-1/global_step_4").rglob("*")
    assert found[0].size == sum(path.stat().st_size for path in on_disk if path.is_file())


def test_as_a_program_it_says_the_same(run: Path) -> None:
    told = answer(spawn("list", run=str(run), attempts=[1]))
    assert [pruning.Found(**one) for one in told] == pruning.survey(str(run), [1])
    gone = answer(spawn("remove", run=str(run), chosen=[[1, 4]]))
    assert [(one["attempt"], one["step"]) for one in gone] == [(1, 4)]
    assert steps(run) == [8, 12]


def test_what_is_removed_is_gone_with_its_bytes_and_again_removes_nothing(run: Path) -> None:
    size = pruning.survey(str(run), [1])[0].size
    assert pruning.remove(str(run), [(1, 4)]) == [pruning.Removed(1, 4, size)]
    assert pruning.remove(str(run), [(1, 4)]) == []
    assert steps(run) == [8, 12]


def test_the_only_good_one_stays_whatever_is_asked(run: Path) -> None:
    assert pruning.remove(str(run), [(1, 4), (1, 8), (1, 12)]) == []
    (run / "checkpoints/attempt-1/global_step_12/data_0.pt").write_bytes(b"cut")
    # What is left beside it cannot be loaded: it does not count.
    assert pruning.remove(str(run), [(1, 4), (1, 8)]) == []
    assert [one.step for one in pruning.remove(str(run), [(1, 4)])] == [4]


def test_a_good_one_of_another_attempt_counts(run: Path) -> None:
    write_step(run / "checkpoints/attempt-2", 16)
    assert len(pruning.remove(str(run), [(1, 4), (1, 8), (1, 12)])) == 3
    assert steps(run, 2) == [16]


@pytest.mark.parametrize("where", ["a-run", "a-run/checkpoints", "a-run/checkpoints/attempt-1"])
def test_a_link_on_the_way_is_refused(run: Path, tmp_path: Path, where: str) -> None:
    inside = run.parent / where
    outside = tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    for act in (lambda: pruning.survey(str(run), [1]), lambda: pruning.remove(str(run), [(1, 4)])):
        with pytest.raises(OSError, match="symbolic links"):
            act()
    assert len(list(outside.rglob("global_step_4/*.pt"))) == 7


def test_a_link_in_a_steps_place_is_no_checkpoint(run: Path, tmp_path: Path) -> None:
    outside = write_step(tmp_path / "elsewhere", 16)
    (run / "checkpoints/attempt-1/global_step_16").symlink_to(outside)
    assert [one.step for one in pruning.survey(str(run), [1])] == [4, 8, 12]
    assert pruning.remove(str(run), [(1, 16)]) == []
    assert pruning.remove(str(run), [(1, 4), (1, 8), (1, 12)]) == []
    assert len(list(outside.iterdir())) == 8


def test_links_inside_a_step_are_removed_and_not_what_they_lead_to(run: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("here")
    (run / "checkpoints/attempt-1/global_step_4/more").symlink_to(tmp_path / "precious")
    assert len(pruning.remove(str(run), [(1, 4)])) == 1
    assert (tmp_path / "precious" / "file").read_text() == "here"


def test_names_cannot_lead_out(run: Path) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        pruning.remove(str(run), [("../attempt-1", 4)])  # type: ignore[list-item]  # what a program might send
    assert pruning.remove(str(run / ".." / "no-such-run"), [(1, 4)]) == []
    assert steps(run) == [4, 8, 12]


def test_a_removal_that_was_cut_short_is_ended_by_the_next(run: Path) -> None:
    attempt = run / "checkpoints/attempt-1"
    (attempt / "global_step_4").rename(attempt / ".leaving-global_step_4")
    assert [one.step for one in pruning.survey(str(run), [1])] == [8, 12]
    pruning.remove(str(run), [(1, 8)])
    assert sorted(path.name for path in attempt.iterdir()) == ["global_step_12"]


def test_two_at_once_that_want_each_others_leave_one(tmp_path: Path) -> None:
    for number in range(8):
        run = tmp_path / "runs" / f"run-{number}"
        for step in (4, 12):
            write_step(run / "checkpoints/attempt-1", step, world=1)
        both = [spawn("remove", run=str(run), chosen=[[1, step]]) for step in (4, 12)]
        assert sum(len(answer(process)) for process in both) == 1
        assert len(steps(run)) == 1
        assert checkpoints.survey(str(run / "checkpoints/attempt-1")).ok
