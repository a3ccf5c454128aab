"""Findings follow the files: as each sync brings them, once, also over attempts, late steps and replaced files."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.diagnostics.core import Finding as Found
from monitoring.diagnostics.core import Severity
from monitoring.finding_selectors import critical
from monitoring.models import Diagnosis, Finding, Stream
from monitoring.services import diagnose
from monitoring.services.sync import open_segment, sync_stream
from monitoring.tasks import diagnose_stream

from .conftest import Run
from .lines import append

KL = "actor/kl_loss"
MakeRun = Callable[..., Run]


def line(step: int, **metrics: Any) -> bytes:
    body = {"v": 1, "step": step, "time": 1_763_800_000.0 + 2 * step, "metrics": metrics}
    return json.dumps(body).encode() + b"\n"


def kl(*values: float | str, first: int = 1) -> list[bytes]:
    return [line(first + i, **{KL: value}) for i, value in enumerate(values)]


def found(run: Run, **wanted: Any) -> list[tuple[str, int, int, str]]:
    rows = Finding.objects.filter(stream_id=run.stream_id, **wanted).order_by("attempt", "start_step", "metric")
    return [(row.rule, row.start_step, row.end_step, Severity(row.severity).word) for row in rows]


@pytest.fixture
def grpo(make_run: MakeRun) -> Run:
    return make_run("grpo")


def test_a_sync_finds_what_its_steps_show_and_says_how_healthy_the_run_is(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(0.1, 0.1))
    grpo.sync()
    assert (found(grpo), grpo.stream.health_score) == ([], 100)
    append(path, *kl(2.5, 2.6, first=3))
    grpo.sync()
    assert found(grpo) == [("kl_explosion", 3, 4, "error")]
    stream, diagnosis = grpo.stream, Diagnosis.objects.get(stream_id=grpo.stream_id)
    assert (stream.health_score, diagnosis.parts) == (
        70, [{"rule": "kl_explosion", "severity": "error", "points": 30}]
    )  # fmt: skip
    assert stream.diagnosed_version == stream.version


def test_syncing_again_finds_nothing_twice(grpo: Run) -> None:
    append(grpo.attempt(), *kl(0.1, 6.0, 7.0))
    grpo.sync()
    first = list(Finding.objects.values())
    grpo.sync()
    diagnose.diagnose(grpo.stream_id)
    assert list(Finding.objects.values()) == first


def test_a_finding_that_goes_on_stays_one(grpo: Run) -> None:
    path = grpo.attempt()
    for step in range(1, 8):
        append(path, *kl(3.0, first=step))
        grpo.sync()
    assert found(grpo) == [("kl_explosion", 1, 7, "error")]


def test_a_value_that_is_no_number_keeps_its_word(grpo: Run) -> None:
    append(grpo.attempt(), *kl(0.1, "NaN"))
    grpo.sync()
    row = Finding.objects.get()
    assert (row.rule, row.value, row.threshold, row.severity) == ("nan_inf", "NaN", None, Severity.CRITICAL)
    assert critical(grpo.stream_id, 1) == row


def test_only_rules_of_the_algorithm_read_a_run(make_run: MakeRun) -> None:
    run = make_run("sft")
    append(run.attempt(), *kl(9.0, 9.0))
    run.sync()
    assert found(run) == []


def test_many_steps_at_once_are_read_after_they_are_there(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(*[0.1] * 2000), *kl(6.0, first=2001))
    sync_stream(grpo.stream_id, grpo.transport)
    assert found(grpo) == []
    assert Diagnosis.objects.get().status == Diagnosis.Status.BEHIND
    assert diagnose.refresh(grpo.stream_id)
    assert found(grpo) == [("kl_explosion", 2001, 2001, "critical")]
    assert not diagnose.refresh(grpo.stream_id)
    append(path, *kl(6.5, first=2002))
    grpo.sync()
    assert found(grpo) == [("kl_explosion", 2001, 2002, "critical")]


def test_a_look_reads_only_so_much_and_the_next_goes_on(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(*[0.1] * 45_000), *kl(6.0, first=45_001))
    sync_stream(grpo.stream_id, grpo.transport)
    looks = 0
    while diagnose.refresh(grpo.stream_id):
        looks += 1
    assert looks == 3
    assert found(grpo) == [("kl_explosion", 45_001, 45_001, "critical")]


def test_a_long_run_is_read_anew_by_a_worker(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(*[0.1] * 20_100))
    grpo.sync()
    while diagnose.refresh(grpo.stream_id):
        pass
    append(path, *kl(6.0, first=5))
    grpo.sync()
    assert found(grpo) == []
    assert Diagnosis.objects.get().status == Diagnosis.Status.STALE
    assert not diagnose.refresh(grpo.stream_id), "it is sent once"
    diagnose_stream(str(grpo.stream_id))
    assert found(grpo) == [("kl_explosion", 5, 5, "critical")]
    assert Diagnosis.objects.get().status == Diagnosis.Status.CURRENT


def test_a_late_step_among_many_is_not_passed_over(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(0.1, 0.1), *kl(0.1, first=10))
    grpo.sync()
    append(path, *kl(6.0, first=3), *kl(*[0.1] * 600, first=11))
    grpo.sync()
    assert found(grpo) == [("kl_explosion", 3, 3, "critical")]


def test_a_late_step_is_read_where_it_belongs(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(0.1, 0.1), *kl(0.1, 0.1, first=4))
    grpo.sync()
    append(path, *kl(6.0, first=3))
    grpo.sync()
    assert found(grpo) == [("kl_explosion", 3, 3, "critical")]


def test_a_late_value_that_takes_a_finding_back_removes_it(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(0.1, 6.0, 0.1))
    grpo.sync()
    append(path, *kl(0.2, first=2))
    grpo.sync()
    assert found(grpo) == []
    assert grpo.stream.health_score == 100


def test_a_file_read_from_its_start_again_changes_no_finding(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(0.1, 6.0, 0.1))
    grpo.sync()
    before = list(Finding.objects.values())
    path.write_bytes(b"".join([b" ", *kl(0.1, 6.0, 0.1), *kl(0.1, first=4)]))
    grpo.sync()
    assert [{**row, "open": None, "id": 0} for row in Finding.objects.values()] == [
        {**row, "open": None, "id": 0} for row in before
    ]


def test_what_an_attempt_found_after_the_next_one_resumed_is_clipped(grpo: Run) -> None:
    append(grpo.attempt(1), *kl(0.1, 2.5, 0.1, 0.1, 6.0))
    grpo.sync()
    assert found(grpo) == [("kl_explosion", 2, 5, "critical")]
    second = grpo.attempt(2, resumed_from=3)
    append(second, *kl(0.1, 0.1, first=4))
    grpo.sync()
    assert found(grpo, clipped=False) == [("kl_explosion", 2, 2, "error")]
    assert critical(grpo.stream_id, 2) is None
    append(second, *kl(8.0, first=6))
    grpo.sync()
    assert found(grpo, clipped=False)[-1] == ("kl_explosion", 6, 6, "critical")
    assert critical(grpo.stream_id, 2) is not None


def test_an_attempt_that_goes_on_where_the_last_one_ended_remembers_it(make_run: MakeRun) -> None:
    run = make_run("sft")
    append(run.attempt(1), *[line(step, **{"train/loss": 1.0}) for step in range(1, 31)])
    run.sync()
    append(run.attempt(2, resumed_from=30), *[line(step, **{"train/loss": 1.0}) for step in range(31, 62)])
    run.sync()
    assert found(run) == [("loss_plateau", 51, 61, "warning")]


def test_an_attempt_that_began_anew_counts_alone(grpo: Run) -> None:
    append(grpo.attempt(1), *kl(0.1, 6.0))
    grpo.sync()
    append(grpo.attempt(2), *kl(0.1, 0.1, 0.1))
    grpo.sync()
    assert found(grpo, clipped=False) == []
    assert found(grpo, clipped=True) == [("kl_explosion", 2, 2, "critical")]
    assert grpo.stream.health_score == 100


def test_reading_anew_finds_what_the_syncs_found(grpo: Run) -> None:
    append(grpo.attempt(1), *kl(0.1, 2.5, *[0.1] * 8, 3.0))
    grpo.sync()
    append(grpo.attempt(2, resumed_from=11), *kl(0.1, 7.0, first=12))
    grpo.sync()
    before = list(Finding.objects.order_by("pk").values())
    assert len(before) == 3
    diagnose.diagnose(grpo.stream_id)
    assert list(Finding.objects.order_by("pk").values()) == before


def test_a_state_of_other_rules_is_read_anew(grpo: Run) -> None:
    append(grpo.attempt(), *kl(6.0, 0.1))
    grpo.sync()
    Finding.objects.all().delete()
    diagnosis = Diagnosis.objects.get()
    Diagnosis.objects.update(state={**diagnosis.state, "version": 0})
    append(grpo.folder / "attempt-1" / "metrics" / f"{grpo.stream_id}_metrics.jsonl", *kl(0.1, first=3))
    grpo.sync()
    assert found(grpo) == [("kl_explosion", 1, 1, "critical")]


def test_a_finding_from_elsewhere_outlives_a_reading_anew_and_a_stall_ends_with_the_next_step(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(0.1, 0.1))
    grpo.sync()
    diagnose.keep_one(grpo.stream_id, 1, Found("stall", "", 2, 2, Severity.ERROR, 4000.0, 1800.0))
    assert grpo.stream.health_score == 70
    diagnose.diagnose(grpo.stream_id)
    assert found(grpo, open=True) == [("stall", 2, 2, "error")]
    append(path, *kl(0.1, first=3))
    grpo.sync()
    assert found(grpo, open=False) == [("stall", 2, 2, "error")]


def test_a_sync_costs_as_many_queries_with_many_findings_as_with_few(grpo: Run) -> None:
    path = grpo.attempt()
    append(path, *kl(0.1))
    grpo.sync()

    def cost(first: int) -> int:
        append(path, *kl(0.1, first=first))
        with CaptureQueriesContext(connection) as queries:
            grpo.sync()
        return len(queries)

    few = cost(2)
    append(path, *kl(*([3.0] + [0.1] * 5) * 40, first=3))
    grpo.sync()
    assert Finding.objects.count() == 40
    # Two more at most: a finding that ends, and a score that changes.
    assert cost(1000) <= few + 2


def test_numbers_beyond_all_measure_are_kept_and_told(grpo: Run) -> None:
    append(grpo.attempt(), *[line(i, **{KL: 1e308, "actor/grad_norm": 1e308 if i > 30 else 1.0}) for i in range(1, 40)])
    grpo.sync()
    assert {rule for rule, *_ in found(grpo)} == {"kl_explosion", "grad_spike"}


def test_two_syncs_at_once_leave_each_finding_once(transactional_run: Run) -> None:
    run = transactional_run
    path = run.attempt()
    append(path, *kl(0.1, 6.0, 7.0, 0.1))

    def sync() -> None:
        try:
            sync_stream(run.stream_id, run.transport)
        finally:
            connection.close()

    threads = [threading.Thread(target=sync) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found(run) == [("kl_explosion", 2, 3, "critical")]


@pytest.fixture
def transactional_run(tmp_path: Any, transactional_db: None) -> Run:
    return Run(tmp_path, "grpo")


def test_an_open_segment_without_steps_changes_nothing(grpo: Run) -> None:
    append(grpo.attempt(1), *kl(0.1, 6.0))
    grpo.sync()
    open_segment(grpo.stream_id, attempt=2, path=str(grpo.folder / "none"), resumed_from=1)
    grpo.sync()
    assert found(grpo, clipped=False) == [("kl_explosion", 2, 2, "critical")]
    assert Stream.objects.get(pk=grpo.stream_id).health_score == 30
