"""First-class metrics across runs: last, smallest and largest of the series, whatever came late or was clipped."""

from collections.abc import Callable

from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.models import KeyMetric
from platform_site.common import roles

from .conftest import Run
from .lines import append, line
from .test_metrics_api import Api, user_with


def loss_of(run: Run) -> tuple[float | None, int, float | None, float | None]:
    metric = KeyMetric.objects.get(stream_id=run.stream_id, name="loss")
    return metric.last, metric.last_step, metric.low, metric.high


def test_last_smallest_and_largest_follow_the_run(run: Run) -> None:
    path = run.attempt()
    append(path, line(1, loss=5), line(2, loss=1), line(3, loss="NaN"))
    run.sync()
    assert loss_of(run) == (None, 3, 1, 5)
    append(path, line(4, loss=2))
    run.sync()
    assert loss_of(run) == (2, 4, 1, 5)


def test_a_late_value_replaces_an_extreme(run: Run) -> None:
    path = run.attempt()
    append(path, line(1, loss=50), line(2, loss=1))
    run.sync()
    append(path, line(1, loss=3))
    run.sync()
    assert loss_of(run) == (1, 2, 1, 3)


def test_what_a_later_attempt_clipped_counts_no_more(run: Run) -> None:
    append(run.attempt(), line(1, loss=4), line(2, loss=9), line(3, loss=0.1))
    run.sync()
    path = run.attempt(2, resumed_from=2)
    assert loss_of(run) == (9, 2, 4, 9)
    append(path, line(3, loss=5))
    run.sync()
    assert loss_of(run) == (5, 3, 4, 9)


def test_a_name_that_counts_for_more_takes_over(run: Run) -> None:
    path = run.attempt()
    append(path, line(1, **{"actor/pg_loss": 7}))
    run.sync()
    append(path, line(2, **{"actor/loss": 1}))
    run.sync()
    assert KeyMetric.objects.get(name="loss").source == "actor/loss"
    assert loss_of(run) == (1, 2, 1, 1)


def test_runs_are_ordered_by_a_metric_in_the_same_number_of_queries(make_run: Callable[[], Run]) -> None:
    runs = [make_run() for _ in range(6)]
    api = Api(runs[0], user_with(roles.Role.VIEWER))
    api.base = "/api/v1/monitoring/key-metrics/"
    api.get()
    costs = []
    for run, value in zip(runs, [3, "NaN", 9, 1, 5, 7], strict=True):
        append(run.attempt(), line(1, reward=value))
        run.sync()
        with CaptureQueriesContext(connection) as queries:
            body = api.get(name="reward_mean", ordering="-last", limit=4)
        costs.append(len(queries))
    assert len(set(costs)) == 1
    assert [row["last"] for row in body["results"]] == [9, 7, 5, 3]
    assert (body["count"], body["results"][0]["source"]) == (6, "reward")
    assert api.get(name="reward_mean", ordering="low", limit=1)["results"][0]["job"] == str(runs[3].stream_id)
    assert "ordering" in api.get(status=400, ordering="step")["error"]["fields"]
