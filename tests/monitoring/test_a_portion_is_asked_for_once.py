"""What was read of a long file and not used yet is kept, as long as the file is still the one it was read from."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from environments.transports.base import FileStat
from environments.transports.local import LocalTransport
from monitoring.readers.metrics import PORTION, TAIL, MetricsFile, Portion, Replaced
from monitoring.services.sync import sync_stream

from .conftest import Run
from .lines import append, line


class Counting(LocalTransport):
    """With the bytes that came, and the most that was asked for at once."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[int] = []
        self.most = 0

    def tail(self, path: str, offset: int, limit: int) -> tuple[FileStat | None, bytes]:
        found, data = super().tail(path, offset, limit)
        self.came.append(len(data))
        self.most = max(self.most, limit)
        return found, data


def test_a_long_file_of_wide_lines_comes_over_once(run: Run) -> None:
    path = run.attempt()
    wide = {f"{name}{'x' * 190}": 1.5 for name in "abcde"}
    append(path, *[line(step, **wide) for step in range(20_000)])
    size = path.stat().st_size
    assert size > 2 * PORTION
    assert PORTION // len(line(9999, **wide)) > 7000, "so that nearly half of a portion is not used at once"
    transport = Counting()
    assert sync_stream(run.stream_id, transport).new_steps == 20_000
    assert size <= sum(transport.came) <= size + TAIL * len(transport.came)
    assert transport.most <= TAIL + PORTION


def long_file(folder: Path, fill: bytes = b"0123456789\n") -> Path:
    path = folder / "metrics.jsonl"
    path.write_bytes((fill * (1 + (PORTION + (1 << 20)) // len(fill)))[: PORTION + (1 << 20)])
    return path


def begun(path: Path, used: int = 3_000_000) -> tuple[Counting, MetricsFile, str]:
    """A reader that has read the first portion; the fingerprint of what was used of it."""
    transport = Counting()
    file = MetricsFile(transport, str(path))
    portion = file.read(0, "")
    assert portion is not None
    assert portion.more
    return transport, file, portion.fingerprint(used)


def test_the_rest_is_thrown_away_with_the_file_it_came_from(tmp_path: Path) -> None:
    path = long_file(tmp_path)
    _, file, fingerprint = begun(path)
    other = tmp_path / "other"
    other.write_bytes(b"x" * path.stat().st_size)
    os.replace(other, path)
    with pytest.raises(Replaced):
        file.read(3_000_000, fingerprint)
    found = file.read(0, "")
    assert found is not None
    assert set(found.data) == set(b"x")


@pytest.mark.parametrize("left", [2_000_000, 3_000_001])
def test_a_file_cut_inside_the_rest_or_before_it_gives_what_is_left(tmp_path: Path, left: int) -> None:
    path = long_file(tmp_path)
    _, file, fingerprint = begun(path)
    os.truncate(path, left)
    if left < 3_000_000:
        with pytest.raises(Replaced):
            file.read(3_000_000, fingerprint)
    else:
        found = file.read(3_000_000, fingerprint)
        assert found is not None
        assert (len(found.data), found.more) == (1, False)


def test_where_another_sync_was_first_the_file_is_read_and_not_what_was_kept(tmp_path: Path) -> None:
    path = long_file(tmp_path)
    transport, file, _ = begun(path)
    for offset in (0, PORTION + 5):
        expected = MetricsFile(LocalTransport(), str(path)).read(offset, "")
        assert file.read(offset, "") == expected
    begun_anew = file.read(0, "")
    assert begun_anew is not None
    transport.came.clear()
    with pytest.raises(Replaced):
        file.read(3_000_000, begun_anew.fingerprint(2_999_999))
    assert sum(transport.came) > path.stat().st_size - 3_000_000, "all of it anew"


STEPS = st.lists(
    st.tuples(st.integers(1, PORTION), st.sampled_from(["", "", "grows", "copied", "other rest", "gone"])), max_size=5
)


@given(steps=STEPS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reader_that_keeps_the_rest_tells_what_one_that_keeps_nothing_does(
    tmp_path: Path, steps: list[tuple[int, str]]
) -> None:
    path = long_file(tmp_path)
    file = MetricsFile(LocalTransport(), str(path))
    offset, fingerprint = 0, ""

    def told(reader: MetricsFile) -> Portion | type[Replaced] | None:
        try:
            return reader.read(offset, fingerprint)
        except Replaced:
            return Replaced

    for used, happens in steps:
        found = told(file)
        assert found == told(MetricsFile(LocalTransport(), str(path)))
        if isinstance(found, Portion):
            used = min(used, len(found.data))
            offset, fingerprint = offset + used, found.fingerprint(used)
        HAPPENS[happens](path, offset)
        if not path.exists():
            break
    assert told(file) == told(MetricsFile(LocalTransport(), str(path)))


def _copied(path: Path, _: int) -> None:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    os.replace(copy, path)


def _other_rest(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.truncate()
        file.write(b"another\n" * (PORTION // 8))


HAPPENS: dict[str, Callable[[Path, int], object]] = {
    "": lambda path, offset: None,
    "grows": lambda path, offset: append(path, b"more\n" * 1000),
    "copied": _copied,
    "other rest": _other_rest,
    "gone": lambda path, offset: path.unlink(),
}
