"""What is read back: exact where it fits, exact minimum and maximum where it does not, attempts clipped."""

import math
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring import clip, selectors

from .conftest import Run
from .lines import append, line


def filled(run: Run, steps: range, attempt: int = 1, resumed_from: int | None = None, scale: float = 1.0) -> None:
    path = run.attempt(attempt, resumed_from)
    append(path, *[line(step, loss=scale * math.sin(step), step_id=step) for step in steps])
    run.sync()


def test_a_short_run_comes_exactly_as_logged(run: Run) -> None:
    filled(run, range(1, 21))
    found = selectors.series(run.stream_id, ["loss", "missing"])
    assert (found.resolution, found.total_steps) == (1, 20)
    assert found.points["loss"] == [(s, math.sin(s), math.sin(s), math.sin(s)) for s in range(1, 21)]
    assert found.points["missing"] == []


def test_a_long_run_comes_in_the_smallest_buckets_that_fit(run: Run) -> None:
    filled(run, range(1, 3001))
    found = selectors.series(run.stream_id, ["loss"], points=200)
    assert found.resolution == 16
    assert found.total_steps == 3000
    line_ = found.points["loss"]
    assert len(line_) == 188
    assert max(p[3] for p in line_) == max(math.sin(s) for s in range(1, 3001))
    assert line_[-1][:2] == (3000, math.sin(3000))


def test_exact_rows_return_as_soon_as_the_range_is_small(run: Run) -> None:
    filled(run, range(1, 3001))
    found = selectors.series(run.stream_id, ["loss"], start_step=1003, end_step=1202, points=200)
    assert (found.resolution, found.total_steps) == (1, 200)
    assert [p[0] for p in found.points["loss"]] == list(range(1003, 1203))


def test_values_that_are_not_finite_stay_visible_and_out_of_minimum_and_maximum(run: Run) -> None:
    path = run.attempt()
    values = [1.0, "NaN", 3.0, "Infinity", 5.0, "-Infinity", 2.0, 4.0]
    append(path, *[line(step, loss=value) for step, value in enumerate(values)])
    run.sync()
    exact = selectors.series(run.stream_id, ["loss"])
    assert exact.points["loss"][1] == (1, "NaN", None, None)
    assert exact.odd == {"loss": [(1, "NaN"), (3, "Infinity"), (5, "-Infinity")]}
    rough = selectors.series(run.stream_id, ["loss"], points=2)
    assert rough.points["loss"] == [(3, "Infinity", 1.0, 3.0), (7, 4.0, 2.0, 5.0)]
    assert rough.odd == {"loss": [(3, "Infinity"), (5, "-Infinity")]}


def test_a_resumed_attempt_clips_the_one_before(run: Run) -> None:
    filled(run, range(1, 15))
    filled(run, range(11, 21), attempt=2, resumed_from=10, scale=2.0)
    found = selectors.series(run.stream_id, ["loss"])
    assert found.points["loss"] == [
        (s, v, v, v) for s in range(1, 21) for v in [math.sin(s) * (1.0 if s <= 10 else 2.0)]
    ]
    assert found.total_steps == 20
    assert [p[0] for p in selectors.series(run.stream_id, ["loss"], attempt=1).points["loss"]] == list(range(1, 15))
    assert selectors.final_metrics(run.stream_id) == {"loss": 2.0 * math.sin(20), "step_id": 20}
    assert selectors.last_step(run.stream_id) == 20


def test_an_attempt_that_began_anew_replaces_all(run: Run) -> None:
    filled(run, range(1, 15))
    filled(run, range(1, 4), attempt=2, scale=2.0)
    assert [p[0] for p in selectors.series(run.stream_id, ["loss"]).points["loss"]] == [1, 2, 3]
    assert selectors.last_step(run.stream_id) == 3


def test_the_step_resumed_from_counts_once_with_the_later_value(run: Run) -> None:
    filled(run, range(1, 15))
    filled(run, range(10, 21), attempt=2, resumed_from=10, scale=2.0)
    found = selectors.series(run.stream_id, ["loss"])
    assert found.total_steps == 20
    assert [p[0] for p in found.points["loss"]] == list(range(1, 21))
    assert found.points["loss"][9][1] == 2.0 * math.sin(10)


def test_sparse_steps_come_in_the_finest_buckets_that_fit(run: Run) -> None:
    path = run.attempt()
    append(path, *[line(step * 100) for step in range(400)])
    run.sync()
    found = selectors.series(run.stream_id, ["loss"], points=300)
    assert found.resolution == 256
    assert len(found.points["loss"]) <= 300


def test_steps_beyond_the_highest_level_still_keep_to_the_points(run: Run) -> None:
    path = run.attempt()
    append(path, *[line(step * 2**40) for step in range(60)])
    run.sync()
    found = selectors.series(run.stream_id, ["loss"], points=7)
    assert 0 < len(found.points["loss"]) <= 7
    assert found.points["loss"][-1][0] == 59 * 2**40


@pytest.mark.django_db
@given(
    steps=st.lists(st.integers(0, 400), min_size=1, max_size=120, unique=True),
    edges=st.tuples(st.integers(0, 400), st.integers(0, 400)),
    points=st.integers(1, 60),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_range_at_any_resolution_is_met_exactly(
    make_run: Callable[[], Run], steps: list[int], edges: tuple[int, int], points: int
) -> None:
    run = make_run()
    append(run.attempt(), *[line(step, loss=(step * 7919) % 101) for step in steps])
    run.sync()
    low, high = sorted(edges)
    found = selectors.series(run.stream_id, ["loss"], start_step=low, end_step=high, points=points)
    wanted = {step: (step * 7919) % 101 for step in steps if low <= step <= high}
    assert found.total_steps == len(wanted)
    assert len(found.points["loss"]) <= points
    met: dict[int, list[int]] = {}
    for step, value in sorted(wanted.items()):
        met.setdefault(step // found.resolution, []).append(step)
        assert value == wanted[step]
    if len(wanted) <= points:
        assert found.resolution == 1
    assert found.points["loss"] == [
        (part[-1], wanted[part[-1]], min(wanted[s] for s in part), max(wanted[s] for s in part))
        for part in met.values()
    ]


@pytest.mark.parametrize("length", [50, 4000])
def test_a_chart_costs_the_same_queries_at_any_length(run: Run, length: int) -> None:
    filled(run, range(length))
    with CaptureQueriesContext(connection) as queries:
        selectors.series(run.stream_id, ["loss"], points=100)
    assert len(queries) <= 6


def test_final_metrics_are_the_last_of_every_name_wherever_logged(run: Run) -> None:
    path = run.attempt()
    append(path, line(1, loss=1, val=9), *[line(step, loss=-step) for step in range(2, 300)], line(300, lr="NaN"))
    run.sync()
    assert selectors.final_metrics(run.stream_id) == {"loss": -299, "val": 9, "lr": "NaN"}


def test_a_listener_gets_each_value_exactly_once(run: Run) -> None:
    path = run.attempt()
    seen: list[tuple[str, int, object]] = []
    cursor = 0
    for portion in [
        [line(1, a=1, b=1), line(2, a=2)],
        [line(2, b=2)],
        [line(2, a=2, b=2)],
        [line(3, a=3), line(1, a=7)],
    ]:
        append(path, *portion)
        run.sync()
        feed = selectors.points_after(run.stream_id, cursor)
        assert feed is not None
        assert not feed.reset
        seen += [(name, step, value) for name, points in feed.points.items() for step, value in points]
        cursor = feed.cursor
    assert sorted(seen, key=str) == sorted(
        [("a", 1, 1), ("b", 1, 1), ("a", 2, 2), ("b", 2, 2), ("a", 3, 3), ("a", 1, 7)], key=str
    )
    assert selectors.points_after(run.stream_id, cursor) == selectors.Feed({}, cursor)


def test_a_listener_far_behind_or_before_a_resumption_starts_over(run: Run) -> None:
    filled(run, range(1, 50))
    behind = selectors.points_after(run.stream_id, 0, limit=10)
    assert behind is not None
    assert behind.reset
    assert len(behind.points["loss"]) == 49
    filled(run, range(31, 40), attempt=2, resumed_from=30)
    after = selectors.points_after(run.stream_id, behind.cursor)
    assert after is not None
    assert after.reset
    assert [step for step, _ in after.points["loss"]] == list(range(1, 40))


def seen(attempt: int, resumed: int | None, first: int | None, last: int | None) -> clip.Seen:
    return clip.Seen(attempt, attempt, resumed, first, last)


def test_clipping_takes_the_lowest_resumption_of_all_later_attempts() -> None:
    parts = clip.canonical([seen(1, None, 1, 140), seen(2, 100, 101, 160), seen(3, 50, 51, 60)])
    assert [(p.attempt, p.low, p.high) for p in parts] == [(1, 1, 50), (3, 51, 60)]


def test_an_attempt_without_steps_yet_already_clips() -> None:
    parts = clip.canonical([seen(1, None, 1, 140), seen(2, 100, None, None)])
    assert [(p.attempt, p.low, p.high) for p in parts] == [(1, 1, 100)]


def test_an_attempt_that_began_before_its_checkpoint_clips_at_its_own_first_step() -> None:
    parts = clip.canonical([seen(1, None, 1, 140), seen(2, 100, 1, 20)])
    assert [(p.attempt, p.low, p.high) for p in parts] == [(2, 1, 20)]


def plans(run: Run, work: Callable[[], object]) -> list[str]:
    """How the database goes about the queries of `work`."""
    with CaptureQueriesContext(connection) as queries:
        work()
    reads = [q["sql"] for q in queries if q["sql"].lstrip().startswith("SELECT") and "monitoring_metric" in q["sql"]]
    found = []
    with connection.cursor() as cursor:
        for sql in reads:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            found += [row[3] for row in cursor.fetchall() if "monitoring_metric" in row[3]]
    return found


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's plans")
def test_no_read_goes_through_the_whole_of_a_segment(run: Run) -> None:
    path = run.attempt()
    append(path, *[line(step) for step in range(2000)])
    run.sync()
    append(path, *[line(step, loss=-1) for step in (3, 900, 1500, 2000)])
    # Late steps in several places are the hardest case of a sync.
    found = plans(run, run.sync)
    found += plans(run, lambda: selectors.series(run.stream_id, ["loss"], start_step=7, end_step=1803, points=99))
    found += plans(run, lambda: selectors.series(run.stream_id, ["loss"], start_step=7, end_step=88))
    found += plans(run, lambda: selectors.points_after(run.stream_id, run.stream.version - 1))
    found += plans(run, lambda: selectors.final_metrics(run.stream_id))
    assert len(found) >= 8
    for plan in found:
        assert "SCAN" not in plan, plan
        assert any(word in plan for word in ("step", "index", "version", "newest")), plan
