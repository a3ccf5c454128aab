"""Rules are tried on past runs: what was caught, what was false, what it would have saved; in work that goes on."""

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from monitoring.models import Finding
from pipelines.models import Backtest, BacktestRun, Job
from pipelines.services.backtests import Asked, create, delete, send_unfinished, work
from pipelines.states import StageStatus
from pipelines.tasks import tick
from platform_site.common.errors import Invalid

from . import builders
from .past_runs import learnt_runs, past_run

pytestmark = pytest.mark.django_db(transaction=True)

KL, ENTROPY, TOO_LONG = "actor/kl_loss", "actor/entropy", "response_length/clip_ratio"
EXPLODES = {KL: [*[0.1] * 10, 3.0, *[6.0] * 9]}
HEALTHY = {KL: [0.1] * 20, ENTROPY: [1.0] * 20}


def tried(**asked: Any) -> Backtest:
    made = create(Asked(**asked), builders.person())
    assert work(made.pk)
    made.refresh_from_db()
    assert made.error_message == ""
    return made


def rule(made: Backtest, name: str) -> dict[str, Any]:
    assert made.result is not None
    found: dict[str, Any] = next(one for one in made.result["rules"] if one["rule"] == name)
    return found


def test_a_failed_run_is_caught_and_a_healthy_one_left_alone(tmp_path: Path) -> None:
    past_run(tmp_path, StageStatus.FAILED, EXPLODES, name="broke", gpus=2)
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    made = tried()
    assert (made.state, made.steps) == ("completed", 40)
    kl = rule(made, "kl_explosion")
    assert (kl["fired"], kl["caught"], kl["broken"], kl["false_alarms"], kl["healthy"]) == (1, 1, 1, 0, 1)
    # The eleventh step came 110 s after the start, and the run ended after 210.
    assert (kl["lead_steps"], kl["lead_s"]) == (9, pytest.approx(100.0))
    assert (kl["gpu_hours"], kl["cpu_hours"]) == (pytest.approx(200 / 3600), 0.0)
    (broke,) = made.runs.filter(ended="failed")
    (found,) = broke.found
    assert (found["rule"], found["acted_step"], found["acted_severity"], found["severity"]) == (
        "kl_explosion", 11, "error", "error",
    )  # fmt: skip
    assert made.runs.get(ended="healthy").found == []


def test_an_attempt_that_was_clipped_is_read_as_it_was(tmp_path: Path) -> None:
    """The first attempt broke after step 10, the second went on from there and was fine."""
    past_run(tmp_path, StageStatus.COMPLETED, EXPLODES, {KL: [0.1] * 10}, resumed_from=10)
    made = tried()
    (run,) = made.runs.all()
    assert (run.steps, [(one["attempt"], one["acted_step"]) for one in run.found]) == (30, [(1, 11)])
    assert run.seconds == pytest.approx(210 + 110)


def test_chosen_rules_and_changed_limits_are_tried(tmp_path: Path) -> None:
    past_run(tmp_path, StageStatus.FAILED, {**EXPLODES, TOO_LONG: [0.9] * 20})
    strict = tried(rules=["kl_explosion"], limits={"kl_explosion": {"threshold": 10.0}})
    assert [one["rule"] for one in strict.result["rules"]] == ["kl_explosion"]
    assert rule(strict, "kl_explosion")["fired"] == 0
    loose = tried(limits={"kl_explosion": {"threshold": 0.05}, "truncation": {"window": 5}})
    assert loose.runs.get().found[0]["acted_step"] == 1
    assert rule(loose, "truncation")["caught"] == 1


def test_alarms_count_from_the_severity_that_was_asked_for(tmp_path: Path) -> None:
    past_run(tmp_path, StageStatus.COMPLETED, {KL: [*[0.1] * 10, 1.5, *[0.1] * 9]})
    assert rule(tried(), "kl_explosion")["false_alarms"] == 0
    assert rule(tried(least="warning"), "kl_explosion")["false_alarms"] == 1


def test_what_people_or_the_trainer_found_wrong_is_no_false_alarm(tmp_path: Path) -> None:
    answered = past_run(tmp_path, StageStatus.COMPLETED, {KL: [*[0.1] * 10, 3.0, *[0.1] * 9]}, name="answered")
    later = past_run(tmp_path, StageStatus.COMPLETED, HEALTHY, name="the answer")
    Job.objects.filter(pk=later.pk).update(incident=Finding.objects.get(stream_id=answered.pk))
    made = tried()
    assert made.runs.get(name="answered").ended == "doubtful"
    assert rule(made, "kl_explosion")["false_alarms"] == 0


def test_learnt_thresholds_are_those_of_runs_that_had_ended_before(tmp_path: Path) -> None:
    """Five healthy runs with a divergence of 1.5 teach a threshold of 2.1; a run before them knew nothing of it."""
    learnt_runs(tmp_path, 5, {KL: [1.5] * 20}, days_ago=10)
    early = past_run(tmp_path, StageStatus.COMPLETED, {KL: [1.8] * 20}, name="early", days_ago=20)
    late = past_run(tmp_path, StageStatus.COMPLETED, {KL: [1.8] * 20}, name="late", days_ago=1)
    made = tried(jobs=[early.pk, late.pk])
    assert {run.name: len(run.found) for run in made.runs.all()} == {"early": 1, "late": 0}
    without = tried(jobs=[late.pk], learnt=False)
    assert len(without.runs.get().found) == 1


def test_runs_that_go_on_or_logged_nothing_are_not_there(tmp_path: Path) -> None:
    past_run(tmp_path, StageStatus.RUNNING, HEALTHY)
    with pytest.raises(Invalid, match="No run that has ended"):
        create(Asked(), builders.person())
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    with pytest.raises(Invalid, match="No run that has ended"):
        create(Asked(algorithm="sft"), builders.person())
    assert create(Asked(algorithm="grpo", recipe="past-grpo"), builders.person()).runs.count() == 1


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"rules": ["stall"]}, "rules"),
        ({"rules": ["nonsense"]}, "rules"),
        ({"limits": {"nonsense": {"a": 1.0}}}, "limits"),
        ({"limits": {"truncation": {"nonsense": 1.0}}}, "limits"),
        ({"limits": {"truncation": {"window": 0.5}}}, "limits"),
        ({"limits": {"truncation": {"window": 1e9}}}, "limits"),
        ({"limits": {"truncation": {"warning": 0.0}}}, "limits"),
        ({"limits": {"truncation": {"warning": float("nan")}}}, "limits"),
        ({"limits": {"truncation": {"warning": True}}}, "limits"),
        ({"least": "fatal"}, "least"),
        ({"most": 0}, "most"),
        ({"most": 501}, "most"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_field(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        create(Asked(**asked), builders.person())
    assert field in refused.value.fields


def test_work_goes_on_where_it_was_left(tmp_path: Path) -> None:
    for n in range(3):
        past_run(tmp_path, StageStatus.COMPLETED, HEALTHY, name=f"run {n}")
    made = create(Asked(), builders.person())
    assert not work(made.pk, slice_s=0)
    assert made.runs.exclude(found__isnull=True).count() == 1
    assert not work(made.pk, slice_s=0)
    assert work(made.pk)
    assert work(made.pk), "what is complete stays so"
    made.refresh_from_db()
    assert (made.steps, made.result["total"]["healthy"]) == (60, 3)


def test_two_workers_do_not_work_on_the_same(tmp_path: Path) -> None:
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    made = create(Asked(), builders.person())
    Backtest.objects.filter(pk=made.pk).update(lease_until=timezone.now() + timedelta(seconds=30))
    assert not work(made.pk)
    assert made.runs.get().found is None
    Backtest.objects.filter(pk=made.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert work(made.pk), "of one that died the lease passes"


def test_a_message_that_was_lost_is_sent_again(tmp_path: Path, sent: Callable[[], list[str]]) -> None:
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    made = create(Asked(), builders.person(), by_worker=False)
    assert sent() == []
    send_unfinished()
    assert sent() == [str(made.pk)]
    work(made.pk)
    send_unfinished()
    assert sent() == [str(made.pk)]


def test_what_a_worker_that_died_left_is_sent_on_by_the_next_tick_once(
    tmp_path: Path, sent: Callable[[], list[str]]
) -> None:
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    made = create(Asked(), builders.person(), by_worker=False)
    Backtest.objects.filter(pk=made.pk).update(lease_until=timezone.now() + timedelta(seconds=30))
    tick()
    assert sent() == [], "somebody works on it"
    Backtest.objects.filter(pk=made.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    tick()
    assert sent() == [str(made.pk)]
    made.refresh_from_db()
    assert made.lease_until is None, "the next tick sends it no more"
    assert work(made.pk)


def test_a_clock_that_is_set_back_holds_no_lease(tmp_path: Path, sent: Callable[[], list[str]]) -> None:
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    made = create(Asked(), builders.person(), by_worker=False)
    an_hour_later = timezone.now() + timedelta(hours=1)
    Backtest.objects.filter(pk=made.pk).update(lease_until=an_hour_later)
    tick()
    assert sent() == [str(made.pk)]
    Backtest.objects.filter(pk=made.pk).update(lease_until=an_hour_later)
    assert work(made.pk)


def test_a_run_that_was_deleted_meanwhile_is_passed_over(tmp_path: Path) -> None:
    gone = past_run(tmp_path, StageStatus.FAILED, EXPLODES, name="gone")
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    made = create(Asked(), builders.person())
    gone.stage.pipeline.delete()
    assert work(made.pk)
    made.refresh_from_db()
    assert (made.result["total"]["broken"], made.result["total"]["healthy"]) == (0, 1)
    assert BacktestRun.objects.get(name="gone").ended == ""


def test_one_that_is_deleted_while_it_is_worked_on_leaves_nothing(tmp_path: Path) -> None:
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    made = create(Asked(), builders.person())
    assert work(
        made.pk, told=lambda runs, steps: delete(made, builders.person()) if Backtest.objects.exists() else None
    )
    assert not Backtest.objects.exists()


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    past_run(tmp_path, StageStatus.FAILED, EXPLODES, name="broke")
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)
    table, body = StringIO(), StringIO()
    call_command("backtest", "--limit", "kl_explosion.threshold=2", stdout=table, stderr=StringIO())
    assert "kl_explosion" in table.getvalue()
    assert "1 of 1" in table.getvalue()
    assert "broke (20 steps): kl_explosion at step 12, 8 steps before the end" in table.getvalue()
    call_command("backtest", "--json", "--rule", "nan_inf", stdout=body, stderr=StringIO())
    told = json.loads(body.getvalue())
    assert (told["rules"][0]["rule"], told["total"]["caught"], len(told["runs"])) == ("nan_inf", 0, 2)
    assert Backtest.objects.count() == 2, "both are kept"
    with pytest.raises(CommandError, match="not of the form"):
        call_command("backtest", "--limit", "kl_explosion")
