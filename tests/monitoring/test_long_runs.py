"""Runs of many chunks: exact wherever one looks, and as quick to open as short ones."""

import random
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring import selectors
from monitoring.models import MetricChunk, MetricColumn, MetricRow
from monitoring.store import database, storage, writing
from platform_site.benches.filled import fill

from .conftest import Run
from .lines import append, line
from .stored import assert_store_is_whole, stored


def filled(run: Run, steps: int, metrics: int, dense: int | None = None) -> list[str]:
    run.attempt()
    return fill(run.stream_id, steps, metrics, dense=dense)


def test_rows_are_packed_at_256_and_merged_at_4096(run: Run) -> None:
    path = run.attempt()

    def sizes(tier: int) -> list[int]:
        return list(MetricChunk.objects.filter(tier=tier).order_by("first").values_list("count", flat=True))

    append(path, *[line(step) for step in range(255)])
    run.sync()
    assert (MetricRow.objects.count(), sizes(0), sizes(1)) == (255, [], [])
    append(path, line(255), line(256))
    run.sync()
    assert (MetricRow.objects.count(), sizes(0), sizes(1)) == (1, [256], [])
    append(path, *[line(step) for step in range(257, 5000)])
    run.sync()
    assert (MetricRow.objects.count(), sizes(0), sizes(1)) == (136, [256] * 3, [4096])
    assert_store_is_whole(run)


def test_a_long_file_goes_into_large_chunks_at_once(run: Run) -> None:
    metrics = {f"{name}{'x' * 190}": 1.5 for name in "abcdefgh"}
    append(run.attempt(), *[line(step, **metrics) for step in range(9000)])
    with CaptureQueriesContext(connection) as queries:
        run.sync()
    sizes = MetricChunk.objects.order_by("first").values_list("tier", "count")
    assert list(sizes) == [(1, 4096)] * 2 + [(0, 256)] * 3
    assert MetricRow.objects.count() == 40
    assert not [query for query in queries if "DELETE FROM monitoring_metricchunk" in query["sql"]]
    assert_store_is_whole(run)


BATCHES = st.lists(
    st.tuples(st.integers(0, 9000), st.integers(1, 700), st.sampled_from([1, 1, 1, 7, 1000])), min_size=1, max_size=7
)


@pytest.mark.django_db
@given(batches=BATCHES, sparse=st.integers(1, 50), seed=st.integers(0, 99))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_in_any_order_and_portion_are_stored_and_read_exactly(
    make_run: Callable[[], Run], batches: list[tuple[int, int, int]], sparse: int, seed: int
) -> None:
    run = make_run()
    path = run.attempt()
    wanted: dict[int, dict[str, float]] = {}
    for number, (first, count, stride) in enumerate(batches):
        for step in range(first, first + count * stride, stride):
            values = {"loss": float(step % 91 + number)} | ({"val": float(number)} if step % sparse == 0 else {})
            wanted.setdefault(step, {}).update(values)
            append(path, line(step, **values))
        run.sync()
    assert stored(run) == dict(sorted(wanted.items()))
    assert_store_is_whole(run)
    dice = random.Random(seed)
    for name in ("loss", "val"):
        low, high = sorted(dice.choices(sorted(wanted), k=2))
        points = dice.choice([1, 20, 300])
        found = selectors.series(run.stream_id, [name], start_step=low, end_step=high, points=points)
        mine = {step: row[name] for step, row in sorted(wanted.items()) if low <= step <= high and name in row}
        assert found.total_steps == sum(low <= step <= high for step in wanted)
        by_bucket: dict[int, list[int]] = {}
        for step in mine:
            by_bucket.setdefault(step // found.resolution, []).append(step)
        assert len(by_bucket) <= points
        assert found.points[name] == [
            (part[-1], mine[part[-1]], min(mine[s] for s in part), max(mine[s] for s in part))
            for part in by_bucket.values()
        ]
    logged = {name: [row[name] for _, row in sorted(wanted.items()) if name in row] for name in ("loss", "val")}
    assert selectors.final_metrics(run.stream_id) == {name: values[-1] for name, values in logged.items() if values}


def test_a_late_step_makes_everything_above_it_anew(run: Run) -> None:
    steps = 17 * writing.LARGE + 300
    [name] = filled(run, steps, 1)
    assert set(MetricChunk.objects.values_list("tier", flat=True)) == {0, 1, 2}
    path = run.attempt()
    append(path, line(30_000, **{name: 1e6}), line(steps + 1, **{name: 0.0}))
    assert run.sync().new_steps == 1
    assert_store_is_whole(run)
    found = selectors.series(run.stream_id, [name], points=300)
    assert max(point[3] for point in found.points[name] if point[3] is not None) == 1e6
    narrow = selectors.series(run.stream_id, [name], start_step=29_000, end_step=31_000, points=3000)
    assert (30_000, 1e6, 1e6, 1e6) in narrow.points[name]
    assert run.stream.rebased_version == run.stream.version


def test_values_of_any_stretch_agree_with_those_of_the_whole(run: Run) -> None:
    steps = 20 * writing.LARGE + 77
    name = filled(run, steps, 2)[1]
    exact = np.array([row.values[name] for row in selectors.iterate_rows(run.stream_id, [name])], float)
    assert len(exact) == steps
    dice = random.Random(5)
    for _ in range(12):
        low, high = sorted(dice.sample(range(1, steps + 1), 2))
        points = dice.choice([7, 100, 1500])
        found = selectors.series(run.stream_id, [name], start_step=low, end_step=high, points=points)
        assert found.total_steps == high - low + 1
        size = found.resolution
        for step, last, smallest, largest in found.points[name]:
            part = exact[max(low, step // size * size) - 1 : step]
            assert (last, smallest, largest) == (part[-1], part.min(), part.max())


class Opened:
    """What a chart of a run costs: queries, and rows and bytes that come back from the store."""

    def __init__(self, run: Run, name: str) -> None:
        self.rows = self.bytes = 0
        asked: list[tuple[str, Any]] = []

        def note(execute: Callable[..., Any], sql: str, parameters: Any, *rest: Any) -> Any:
            asked.append((sql, parameters))
            return execute(sql, parameters, *rest)

        with connection.execute_wrapper(note):
            found = selectors.series(run.stream_id, [name], points=1500)
        assert len(found.points[name]) > 700
        self.queries = len(asked)
        for sql, parameters in asked:
            if "monitoring_metric" in sql:
                for row in database.all_of(sql, parameters):
                    self.rows += 1
                    self.bytes += sum(len(value) for value in row if isinstance(value, bytes))


def test_a_million_steps_of_100_metrics_open_as_a_thousand(make_run: Callable[[], Run]) -> None:
    costs = []
    for steps in (1_000, 1_000_000):
        run = make_run()
        names = filled(run, steps, 100, dense=2)
        append(run.attempt(), *[line(step, **dict.fromkeys(names, 1.5)) for step in range(steps + 1, steps + 201)])
        run.sync()
        costs.append(Opened(run, names[0]))
    short, long = costs
    assert long.queries == short.queries <= 5
    assert long.rows <= short.rows + 60
    assert long.bytes <= short.bytes + 200_000
    assert MetricColumn.objects.filter(chunk__tier=1).count() > 20_000


def test_an_ended_run_is_packed_to_its_last_step(run: Run) -> None:
    path = run.attempt()
    append(path, *[line(step) for step in range(700)])
    run.sync()
    segment = run.segment()
    shelf = writing.seal(writing.shelf_of(segment))
    assert (shelf.unpacked, shelf.small, shelf.tops) == (0, 0, (699, 699))
    assert list(MetricChunk.objects.values_list("tier", "count")) == [(1, 700)]
    assert list(stored(run)) == list(range(700))


def test_postgresql_is_told_not_to_compress_in_the_first_migration() -> None:
    operations = import_module("monitoring.migrations.0001_initial").Migration.operations
    assert storage.keep_uncompressed in [getattr(operation, "code", None) for operation in operations]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's way to store")
def test_postgresql_keeps_columns_as_they_are() -> None:
    with connection.schema_editor() as editor:
        storage.keep_uncompressed(None, editor)
    with connection.cursor() as cursor:
        cursor.execute(
            "select attname from pg_attribute where attrelid = 'monitoring_metriccolumn'::regclass and attstorage = 'e'"
        )
        assert {name for (name,) in cursor.fetchall()} == {"coarse", "fine", "values"}
        cursor.execute("select reloptions from pg_class where oid = 'monitoring_metriccolumn'::regclass")
        assert cursor.fetchall() == [(["toast_tuple_target=8160"],)]
