"""What the doctor finds becomes an event in the same transaction, once, and once more when it gets worse."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone, translation

from environments.transports.local import LocalTransport
from monitoring import system
from monitoring.diagnostics.core import Finding as Found
from monitoring.diagnostics.core import Severity
from monitoring.models import Segment, Stream, SystemLog
from monitoring.services import diagnose
from monitoring.services.system import sync_system
from notifications.models import Event
from platform_runtime.machine import Record
from platform_runtime.system import SystemSample
from tests import people

from .conftest import Run
from .lines import append
from .test_the_doctor_reads_every_sync import kl, line

pytestmark = pytest.mark.django_db
GIB = 2.0**30


@pytest.fixture
def grpo(make_run: Any) -> Run:
    run: Run = make_run("grpo")
    Stream.objects.filter(pk=run.stream_id).update(name="Tiny GRPO", owner=people.bob())
    return run


def told() -> list[tuple[str, str]]:
    return [(event.kind, Severity(event.severity).word) for event in Event.objects.order_by("pk")]


def test_a_finding_is_told_with_its_run_its_sentence_and_who_started_it(grpo: Run) -> None:
    append(grpo.attempt(), *kl(0.1, 2.5))
    grpo.sync()
    event = Event.objects.get()
    assert (event.kind, event.about, event.link) == ("anomaly", "Tiny GRPO", f"/jobs/{grpo.stream_id}/")
    assert event.owner is not None
    assert event.owner.username == "bob"
    assert "Tiny GRPO" in event.told.title
    assert "2.5" in event.told.text
    with translation.override("zh-hans"):
        assert "2.5" in event.told.text


def test_one_that_lasts_is_told_once_and_once_more_when_it_gets_worse(grpo: Run) -> None:
    path = grpo.attempt()
    for step, value in enumerate((0.1, 1.5, 1.6, 1.5, 1.7, 2.5, 2.6, 6.0, 7.0), start=1):
        append(path, *kl(value, first=step))
        grpo.sync()
    assert told() == [("anomaly", "warning"), ("anomaly", "error"), ("anomaly", "critical")]


def test_what_began_and_ended_within_one_sync_is_told(grpo: Run) -> None:
    append(grpo.attempt(), *kl(0.1, 2.5, *[0.1] * 8))
    grpo.sync()
    assert told() == [("anomaly", "error")]


def test_reading_a_run_anew_tells_nothing_twice(grpo: Run) -> None:
    append(grpo.attempt(), *kl(0.1, 2.5, 0.1))
    grpo.sync()
    diagnose.diagnose(grpo.stream_id)
    assert len(told()) == 1


def test_reading_an_old_run_anew_is_no_news(grpo: Run) -> None:
    append(grpo.attempt(), *kl(0.1, 2.5, 0.1))
    grpo.sync()
    Event.objects.all().delete()
    Stream.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    diagnose.diagnose(grpo.stream_id)
    assert told() == []


def test_many_steps_at_once_of_a_run_under_way_are_told(grpo: Run) -> None:
    append(grpo.attempt(), *kl(*[0.1] * 2000), *kl(6.0, first=2001))
    grpo.sync()
    assert told() == [("anomaly", "critical")]


def test_a_stall_has_a_kind_of_its_own_and_the_log_is_told_with_the_failure(grpo: Run) -> None:
    append(grpo.attempt(), *kl(0.1, 0.1))
    grpo.sync()
    lines = {"lines": ["x" * 5000] * 60}
    diagnose.keep_one(grpo.stream_id, 1, Found("stall", "", 2, 2, Severity.ERROR, 4000.0, 1800.0, params=lines))
    diagnose.keep_one(grpo.stream_id, 1, Found("log_error", "", 2, 2, Severity.ERROR, "ValueError", None))
    assert told() == [("stall", "error")]
    assert "lines" not in Event.objects.get().args["params"], "evidence stays with the finding"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", 1e308, -1e308])
def test_a_value_beyond_all_measure_is_told(grpo: Run, value: float | str) -> None:
    append(
        grpo.attempt(), line(1, **{"actor/kl_loss": 0.1}), line(2, **{"actor/grad_norm": "NaN"}), *kl(value, first=3)
    )
    grpo.sync()
    for event in Event.objects.all():
        assert event.told.title


def measured(run: Run, free: list[float]) -> None:
    path = run.folder / "system.jsonl"
    run.attempt()
    record = Record(str(path))
    began = time.time() - 5 * len(free)
    for n, left in enumerate(free, start=1):
        record.add(SystemSample(n, began + 5 * n, {"disk_free_bytes": left}))
        if n % 10 == 0:
            SystemLog.objects.update(looked_at=None)
            sync_system(Segment.objects.get(stream_id=run.stream_id), str(path), LocalTransport())


def test_a_disk_that_fills_up_is_told_within_a_day_and_within_two_hours(grpo: Run) -> None:
    measured(grpo, [200 * GIB - n * 0.1 * GIB for n in range(1, 1900)])
    assert told() == [("disk_filling", "warning"), ("disk_filling", "error")]
    first = Event.objects.order_by("pk")[0]
    assert "Tiny GRPO" in first.told.title
    assert str(first.args["hours"]) in first.told.text


def test_a_disk_that_stays_as_it_is_and_one_large_checkpoint_are_not_told(grpo: Run, make_run: Any) -> None:
    measured(grpo, [100 * GIB] * 200)
    other: Run = make_run("sft")
    measured(other, [100 * GIB if n < 100 else 60 * GIB for n in range(300)])
    assert told() == []


def test_the_forecast_that_is_told_holds_for_either_half() -> None:
    fills = [(5.0 * n, 100 * GIB - n * GIB) for n in range(60)]
    assert system.keeps_filling(fills, 3600.0) == pytest.approx(205.0)
    assert system.keeps_filling(fills, 60.0) is None
    assert system.keeps_filling(fills[:59], 3600.0) is None
    late = [(5.0 * n, 100 * GIB - max(0, n - 30) * GIB) for n in range(60)]
    assert system.full_in_s(late) is not None
    assert system.keeps_filling(late, 3600.0) is None
