"""Metrics of runs that nothing comes of any more are packed whole, and forgotten where that is asked for."""

from datetime import timedelta

from django.utils import timezone
from pytest_django import Settings

from monitoring import selectors
from monitoring.models import KeyMetric, MetricChunk, MetricRow, Stream
from monitoring.services.tidy import tidy

from .conftest import Run
from .lines import append, line
from .stored import assert_store_is_whole, stored


def quiet_for(run: Run, seconds: float) -> None:
    Stream.objects.filter(pk=run.stream_id).update(updated_at=timezone.now() - timedelta(seconds=seconds))


def test_a_run_that_is_quiet_is_packed_to_its_last_step_and_goes_on_as_before(run: Run) -> None:
    path = run.attempt()
    append(path, *[line(step) for step in range(700)])
    run.sync()
    tidy()
    assert MetricRow.objects.count() == 188
    quiet_for(run, 3700)
    tidy()
    assert (MetricRow.objects.count(), MetricChunk.objects.count()) == (0, 1)
    assert_store_is_whole(run)
    append(path, *[line(step, loss=-1) for step in (5, 699, 700)])
    assert run.sync().new_steps == 1
    assert_store_is_whole(run)
    assert [stored(run)[step]["loss"] for step in (5, 699, 700)] == [-1, -1, -1]


def test_old_steps_are_forgotten_only_where_that_is_set(run: Run, settings: Settings) -> None:
    path = run.attempt()
    append(path, *[line(step) for step in range(1, 700)])
    run.sync()
    quiet_for(run, 10_000)
    tidy()
    assert len(stored(run)) == 699
    settings.METRICS_KEEP_S = 5_000
    tidy()
    assert (MetricRow.objects.count(), MetricChunk.objects.count()) == (0, 0)
    assert selectors.series(run.stream_id, ["loss"]).points == {"loss": []}
    assert run.stream.warnings == [{"code": "forgotten", "after_s": 5_000}]
    assert KeyMetric.objects.get(name="loss").last == 69.9
    assert run.sync().new_steps == 0
