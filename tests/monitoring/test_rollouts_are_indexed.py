"""What is in an attempt's rollouts folder stands in the database, whatever else lies there."""

import os
from pathlib import Path

import pytest

from environments.transports import Unreachable
from environments.transports.local import LocalTransport
from monitoring.models import RolloutFile, Stream
from monitoring.services import rollouts as service
from monitoring.services.rollouts import Budget, index_rollouts

from .conftest import Run
from .places import make_run
from .rollout_files import write

__all__ = ["make_run"]


@pytest.fixture
def folder(run: Run) -> Path:
    return run.attempt().parent.parent / "rollouts"


def index(run: Run, folder: Path, budget: Budget = service.LOOK, attempt: int = 1) -> int:
    return index_rollouts(run.stream_id, attempt, str(folder), run.transport, budget)


def row(step: int, attempt: int = 1) -> RolloutFile:
    found: RolloutFile = RolloutFile.objects.get(step=step, segment__attempt=attempt)
    return found


def test_a_step_is_found_with_its_figures(run: Run, folder: Path) -> None:
    path = write(folder, 3, [[0.0, 1.0], [1.0, "NaN"]])
    assert index(run, folder) == 0
    found = row(3)
    assert (found.samples, found.groups, found.size) == (4, 2, path.stat().st_size)
    assert (found.reward_min, found.reward_max) == (0.0, 1.0)
    assert found.reward_mean == pytest.approx(2 / 3)
    assert (found.bad_lines, found.cut, found.problem) == (0, False, "")


def test_a_step_is_told_once_and_looking_again_changes_nothing(run: Run, folder: Path) -> None:
    write(folder, 1, [[1.0]])
    index(run, folder)
    told = run.stream.version
    index(run, folder)
    assert run.stream.version == told > 0
    assert run.stream.updated_at is None, "a rollout is no step of the metrics"


def test_a_step_that_comes_late_is_found_too(run: Run, folder: Path) -> None:
    for step in (1, 5):
        write(folder, step, [[1.0]])
    index(run, folder)
    write(folder, 3, [[1.0]])
    index(run, folder)
    assert list(RolloutFile.objects.order_by("step").values_list("step", "samples")) == [(1, 1), (3, 1), (5, 1)]


def test_nothing_else_in_the_folder_counts(run: Run, folder: Path) -> None:
    write(folder, 1, [[1.0]])
    for name in (".2.jsonl.x1", "2.jsonl.tmp", "notes.txt", "03.jsonl", "-4.jsonl"):
        (folder / name).write_text("{}")
    index(run, folder)
    assert [found.step for found in RolloutFile.objects.all()] == [1]


def test_no_folder_is_no_rollouts(run: Run, folder: Path) -> None:
    assert index(run, folder) == 0
    folder.write_text("a file in its place")
    assert index(run, folder) == 0
    assert not RolloutFile.objects.exists()


def test_a_folder_that_leads_elsewhere_is_not_followed(run: Run, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "of another run", 1, [[1.0]])
    folder.symlink_to(tmp_path / "of another run")
    index(run, folder)
    assert not RolloutFile.objects.exists()


def test_what_is_no_file_is_told_and_holds_up_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "elsewhere", 2, [[1.0]])
    folder.mkdir()
    os.mkfifo(folder / "1.jsonl")
    (folder / "2.jsonl").symlink_to(secret)
    (folder / "3.jsonl").mkdir()
    write(folder, 4, [[1.0]])
    assert index(run, folder) == 0
    assert "not a regular file" in row(1).problem
    assert "symbolic link" in row(2).problem
    assert "not a regular file" in row(3).problem
    assert str(tmp_path) not in row(1).problem + row(2).problem + row(3).problem
    assert (row(4).samples, row(4).problem) == (1, "")


def test_garbage_is_counted_and_the_rest_is_read(run: Run, folder: Path) -> None:
    path = write(folder, 1, [[1.0, 0.0]])
    path.write_bytes(path.read_bytes() + b'{"v": 1, "step": 1, "gro')
    index(run, folder)
    assert (row(1).samples, row(1).bad_lines) == (2, 1)


def test_a_file_that_vanishes_between_is_told(run: Run, folder: Path) -> None:
    for step in (1, 2):
        write(folder, step, [[1.0]])
    index(run, folder, Budget(files=1, bytes=1 << 20))
    (folder / "2.jsonl").unlink()
    index(run, folder)
    assert (row(1).problem, row(2).problem) == ("", service.GONE)


def test_one_look_reads_so_much_and_the_next_goes_on(run: Run, folder: Path) -> None:
    for step in range(1, 8):
        write(folder, step, [[1.0]])
    size = (folder / "1.jsonl").stat().st_size
    assert index(run, folder, Budget(files=3, bytes=1 << 20)) == 4
    assert RolloutFile.objects.count() == 7, "each file is known at once"
    # The file that goes beyond is the last one, and one is read however little may be.
    assert index(run, folder, Budget(files=10, bytes=size + 1)) == 2
    assert index(run, folder, Budget(files=10, bytes=1)) == 1
    assert index(run, folder) == 0


def test_both_attempts_keep_their_own(run: Run, folder: Path) -> None:
    write(folder, 1, [[0.0]])
    index(run, folder)
    second = run.attempt(2).parent.parent / "rollouts"
    write(second, 1, [[1.0]])
    index(run, second, attempt=2)
    assert (row(1, 1).reward_mean, row(1, 2).reward_mean) == (0.0, 1.0)


class Away(LocalTransport):
    """A host that stops answering while the second step is read."""

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        if path.endswith("/2.jsonl"):
            raise Unreachable("no answer")
        return super().read(path, offset, limit)


def test_a_host_that_goes_away_loses_nothing(run: Run, folder: Path) -> None:
    for step in (1, 2):
        write(folder, step, [[1.0]])
    with pytest.raises(Unreachable):
        index_rollouts(run.stream_id, 1, str(folder), Away())
    assert row(1).samples == 1
    assert run.stream.version > 0, "what was read is told"
    assert index(run, folder) == 0
    assert (row(2).samples, row(2).problem) == (1, "")


def test_they_go_with_their_stream(run: Run, folder: Path) -> None:
    write(folder, 1, [[1.0]])
    index(run, folder)
    Stream.objects.get(pk=run.stream_id).delete()
    assert not RolloutFile.objects.exists()


@pytest.mark.parametrize("files", [10, 300])
def test_a_look_at_a_long_run_asks_the_database_no_more(
    run: Run, folder: Path, files: int, django_assert_max_num_queries: object
) -> None:
    for step in range(1, files + 1):
        write(folder, step, [[1.0]])
    index(run, folder, Budget(files=1000, bytes=1 << 30))
    with django_assert_max_num_queries(5):  # type: ignore[operator]  # pytest-django's fixture
        index(run, folder)
