"""Sync: only new bytes, whole lines, exactly once; whatever happens to the file in between."""

import json
import logging
import os
import random
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from environments.transports.base import FileStat
from environments.transports.local import LocalTransport
from monitoring import selectors
from monitoring.models import BadLine, Stream
from monitoring.services.sync import sync_stream
from monitoring.store import lines
from platform_site.common.errors import NotFound

from .conftest import Run
from .lines import append, line
from .places import make_run
from .stored import assert_store_is_whole, stored

__all__ = ["make_run"]


def test_new_bytes_become_rows_and_the_offset_moves(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    path = run.attempt()
    append(path, line(1), line(2))
    with caplog.at_level(logging.INFO, logger="monitoring"):
        first = run.sync()
    size = path.stat().st_size
    assert (first.new_steps, first.old_offset, first.new_offset, first.last_step) == (2, 0, size, 2)
    assert f"Job {run.stream_id}: synced 2 (offset 0 -> {size})" in caplog.messages
    append(path, line(3))
    second = run.sync()
    assert (second.new_steps, second.old_offset, second.new_offset) == (1, size, path.stat().st_size)
    assert run.sync().new_steps == 0
    assert stored(run) == {step: {"loss": step / 10} for step in (1, 2, 3)}
    assert_store_is_whole(run)


def test_nothing_there_yet_is_nothing_read(run: Run) -> None:
    run.attempt()
    assert run.sync().new_steps == 0


def test_a_half_line_waits_for_its_end_at_every_byte(make_run: Callable[[], Run]) -> None:
    run = make_run()
    path = run.attempt()
    text = line(2, loss="NaN")
    append(path, line(1))
    run.sync()
    for i in range(len(text)):
        append(path, text[i : i + 1])
        assert run.sync().new_steps == (1 if i == len(text) - 1 else 0)
    assert stored(run) == {1: {"loss": 0.1}, 2: {"loss": "NaN"}}


def test_bad_lines_are_kept_with_place_and_reason(run: Run) -> None:
    path = run.attempt()
    append(path, line(1), b"\xff\xfe\n", line(2))
    assert run.sync().bad_lines == 1
    bad = BadLine.objects.get()
    assert (bad.offset, bad.reason, bad.excerpt) == (len(line(1)), "not UTF-8", "\\xff\\xfe")
    assert run.segment().bad_lines == 1
    assert run.stream.warnings == [{"code": "bad_lines", "count": 1}]


def test_bad_lines_alone_are_told_and_are_no_step(run: Run) -> None:
    path = run.attempt()
    append(path, line(1))
    run.sync()
    before = run.stream
    append(path, b"no json\n", b"[]\n")
    assert (found := run.sync()).bad_lines == 2
    assert found.new_steps == 0
    stream = run.stream
    assert stream.version > before.version, "open pages look again"
    assert stream.updated_at == before.updated_at, "a trainer that writes rubbish alone stands still"
    assert stream.warnings == [{"code": "bad_lines", "count": 2}]


def test_a_line_of_10_mb_is_passed_over_with_the_offset_exact(run: Run) -> None:
    path = run.attempt()
    append(path, line(1), b"y" * (6 << 20))
    assert run.sync().bad_lines == 1
    assert run.segment().offset == path.stat().st_size
    append(path, b"y" * (4 << 20))
    assert run.sync().bad_lines == 0
    append(path, b"\n", line(2))
    result = run.sync()
    assert (result.bad_lines, result.new_steps, result.new_offset) == (0, 1, path.stat().st_size)
    assert run.segment().bad_lines == 1
    assert stored(run).keys() == {1, 2}


def test_10_000_names_are_capped_with_a_warning(run: Run) -> None:
    path = run.attempt()
    append(path, line(1, loss=1), line(2, **{f"m{i}": i for i in range(10_000)}))
    run.sync()
    assert len(run.stream.names) == lines.MAX_NAMES
    assert run.stream.warnings == [{"code": "too_many_names", "limit": 1000, "refused": 9001}]
    assert "loss" in run.stream.names


@pytest.mark.parametrize("keep", [0, 1, 5])
def test_a_cut_file_is_read_anew_and_nothing_doubles(run: Run, keep: int) -> None:
    path = run.attempt()
    text = [line(step) for step in range(1, 11)]
    append(path, *text)
    run.sync()
    path.write_bytes(b"".join(text[:keep]))
    run.sync()
    append(path, *[line(step, loss=-step) for step in range(keep + 1, 15)])
    run.sync()
    assert run.segment().generation == 1
    assert stored(run) == {s: {"loss": s / 10 if s <= keep else -s} for s in range(1, 15)}
    assert_store_is_whole(run)


def test_a_file_replaced_by_a_longer_one_while_nobody_looked_is_seen(run: Run) -> None:
    path = run.attempt()
    append(path, *[line(step, time=1.0) for step in range(1, 4)])
    run.sync()
    other = path.with_suffix(".new")
    append(other, *[line(step, time=2.0, loss=step) for step in range(1, 9)])
    os.replace(other, path)
    run.sync()
    assert run.segment().generation == 1
    assert stored(run) == {step: {"loss": step} for step in range(1, 9)}
    assert_store_is_whole(run)


def test_a_rotated_file_keeps_what_was_read(run: Run) -> None:
    path = run.attempt()
    append(path, *[line(step) for step in range(1, 6)])
    run.sync()
    path.rename(path.with_suffix(".1"))
    assert run.sync().new_steps == 0
    append(path, *[line(step) for step in range(6, 9)])
    assert run.sync().new_steps == 3
    assert stored(run).keys() == set(range(1, 9))


def test_a_copy_of_the_same_bytes_in_the_file_s_place_is_the_same_file(run: Run) -> None:
    path = run.attempt()
    append(path, line(1), line(2))
    run.sync()
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes() + line(3))
    os.replace(copy, path)
    assert run.sync().new_steps == 1
    assert run.segment().generation == 0


def test_a_folder_or_a_pipe_in_the_file_s_place_is_told_not_read(run: Run) -> None:
    path = run.attempt()
    os.mkfifo(path)
    assert run.sync().new_steps == 0
    assert run.stream.warnings == [{"code": "not_a_file", "path": str(path)}]
    version = run.stream.version
    path.unlink()
    path.mkdir()
    run.sync()
    assert run.stream.version == version


def test_a_run_deleted_while_it_is_read_is_told_as_such(run: Run) -> None:
    class Deleting(LocalTransport):
        def tail(self, path: str, offset: int, limit: int) -> tuple[FileStat | None, bytes]:
            found = super().tail(path, offset, limit)
            Stream.objects.filter(pk=run.stream_id).delete()
            return found

    append(run.attempt(), line(1))
    with pytest.raises(NotFound, match="deleted while it was read"):
        sync_stream(run.stream_id, Deleting())


def test_two_lines_of_a_step_merge_also_over_two_syncs(run: Run) -> None:
    path = run.attempt()
    append(path, line(1, train=1), line(2, train=2))
    run.sync()
    append(path, line(2, val=5, train=3))
    assert run.sync().new_steps == 0
    assert stored(run)[2] == {"train": 3, "val": 5}
    assert_store_is_whole(run)


def test_lines_that_repeat_what_is_known_change_nothing(run: Run) -> None:
    path = run.attempt()
    append(path, line(1), line(2))
    run.sync()
    version = run.stream.version
    append(path, line(1), line(2))
    run.sync()
    assert run.stream.version == version
    assert run.segment().offset == path.stat().st_size


def test_late_steps_all_over_a_run_leave_buckets_exact(run: Run) -> None:
    path = run.attempt()
    dice = random.Random(7)
    steps = [dice.randrange(0, 5000) for _ in range(600)]
    append(path, *[line(step, loss=dice.choice([step, "NaN", -step])) for step in steps])
    run.sync()
    append(path, *[line(dice.choice(steps), loss=dice.random(), val=1) for _ in range(100)])
    run.sync()
    assert_store_is_whole(run)


def test_the_trainer_s_anomaly_is_on_the_stream_and_its_step(run: Run) -> None:
    path = run.attempt()
    append(path, line(1), line(2, loss="NaN", anomaly={"type": "nan_inf", "message": "loss is NaN"}))
    assert run.sync().has_anomaly
    stream = run.stream
    assert (stream.anomaly_type, stream.anomaly_message, stream.anomaly_step) == ("nan_inf", "loss is NaN", 2)
    count, rows = selectors.anomalies(run.stream_id)
    assert (count, [row.step for row in rows]) == (1, [2])


def test_the_status_file_tells_target_and_anomaly(run: Run) -> None:
    path = run.attempt()
    status = path.with_name(f"{run.stream_id}_status.json")
    status.write_text("{half")
    run.sync()
    said = {"target_step": 40, "has_anomaly": True, "anomaly_type": "kl", "anomaly_message": "m"}
    status.write_text(json.dumps(said))
    assert run.sync().has_anomaly
    assert (run.stream.target_step, run.stream.anomaly_type) == (40, "kl")
    version = run.stream.version
    run.sync()
    assert run.stream.version == version


def test_a_sync_of_one_line_costs_the_same_at_any_length(run: Run) -> None:
    path = run.attempt()
    append(path, *[line(step) for step in range(100)])
    run.sync()

    def cost() -> int:
        last = run.segment().last_step or 0
        append(path, line(last + 1))
        with CaptureQueriesContext(connection) as queries:
            run.sync()
        return len(queries)

    few = cost()
    append(path, *[line(step) for step in range(1000, 6000)])
    run.sync()
    assert cost() == few <= 20


PIECES = st.lists(
    st.one_of(
        st.builds(line, st.integers(0, 40), loss=st.integers(0, 9) | st.just("NaN")),
        st.sampled_from([b"garbage\n", b"\0\n", b"\xff\n", b"{}\n"]),
    ),
    max_size=25,
)


@pytest.mark.django_db
@given(pieces=PIECES, cuts=st.lists(st.integers(0, 2000), max_size=6))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_in_any_portions_gives_the_rows_of_its_valid_lines(
    make_run: Callable[[], Run], pieces: list[bytes], cuts: list[int]
) -> None:
    run = make_run()
    path = run.attempt()
    data = b"".join(pieces)
    start = 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        append(path, data[start:cut])
        start = cut
        run.sync()
    wanted = lines.merge(lines.parse(data).lines)
    assert stored(run) == {step: one.values for step, one in sorted(wanted.items())}
    assert run.segment().bad_lines == len(lines.parse(data).bad)
    assert_store_is_whole(run)
