"""Whatever stands in a run folder, the run ends, and the others of its host are seen meanwhile."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from django.db import IntegrityError

from environments.transports import Transport
from monitoring.diagnostics.core import Mark, Point, Rule
from monitoring.diagnostics.rules import RULES
from monitoring.models import Finding, Stream
from monitoring.services.diagnose import MOST_AT_ONCE
from monitoring.services.sync import SyncResult
from pipelines.folders import run_folder
from pipelines.kinds import Verdict, registry
from pipelines.models import Attempt, Stage
from pipelines.services import cancel, dispatch
from pipelines.states import StageStatus
from platform_runtime.contract import Command
from tests.harness import wait_until

from . import builders
from .conftest import Hands, ScriptKind
from .watched import watched

pytestmark = pytest.mark.django_db(transaction=True)

SLEEP = "import time; time.sleep(60)"


def claimed(hands: Hands, content: str) -> tuple[Stage, Attempt]:
    """A stage that is starting, with a claim of which nobody can say whose it is."""
    stage = hands.script("pass", max_retries=0)
    dispatch.dispatch()
    attempt = hands.attempt(stage)
    folder = Path(attempt.folder)
    folder.mkdir(parents=True)
    (folder / "claim").write_text(content)
    return stage, attempt


@pytest.mark.parametrize("content", ["", "{", "[]", '{"owner": "nobody", "at": 0}', "[" * 100_000])
def test_a_claim_that_says_nothing_is_revoked_when_its_time_is_over(hands: Hands, content: str) -> None:
    stage, _attempt = claimed(hands, content)
    Stage.objects.filter(pk=stage.pk).update(changed_at="2020-01-01T00:00:00Z")

    hands.look()

    assert hands.status(stage) == StageStatus.QUEUED
    assert hands.attempt(stage).number == 2


def test_a_stage_with_a_claim_that_says_nothing_can_be_cancelled(hands: Hands) -> None:
    stage, attempt = claimed(hands, "{")

    cancel.cancel_stage(stage.pk, user=builders.person())
    cancel.stop_attempt(attempt.pk)

    assert hands.until(stage, timeout_s=5) == "cancelled"


@pytest.mark.parametrize("name", ["claim", "process.json", "exit.json", "metrics/{}_status.json"])
def test_a_pipe_in_a_files_place_holds_nobody(hands: Hands, name: str) -> None:
    other, stage = hands.script(SLEEP), hands.script(SLEEP)
    hands.launch(other)
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    path = Path(attempt.folder) / name.format(stage.pk)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)

    began = time.monotonic()
    hands.look()

    assert time.monotonic() - began < 15
    assert hands.until(other, StageStatus.RUNNING) == "running"


def ended(hands: Hands) -> tuple[Stage, Attempt]:
    """A stage that runs still in the database, and whose process has ended well."""
    stage = hands.script('import os, time\nwhile not os.path.exists("enough"): time.sleep(0.01)')
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    (Path(attempt.folder) / "enough").touch()
    record = Path(attempt.folder) / "exit.json"
    end = time.monotonic() + 15
    while not record.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return stage, attempt


@pytest.mark.parametrize(
    "changes",
    [
        {"elapsed_s": float("nan")},
        {"elapsed_s": 1e308},
        {"started_at": float("inf")},
        {"code": 10**30},
        {"code": 2**40},
        {"checkpoint": {"step": 10**30, "ok": True, "why": ""}},
        {"extra": json.loads("[" * 900 + "]" * 900)},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_an_exit_record_with_impossible_numbers_still_ends_the_run(hands: Hands, changes: dict[str, Any]) -> None:
    stage, attempt = ended(hands)
    record = Path(attempt.folder) / "exit.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))

    assert hands.until(stage, timeout_s=8) in ("completed", "failed")
    assert stage.started_at is not None
    assert stage.completed_at is not None
    assert stage.completed_at > stage.started_at


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"code": 0}', "\0" * 100])
def test_an_exit_record_that_cannot_be_read_ends_the_run_as_lost(hands: Hands, content: str) -> None:
    stage, attempt = ended(hands)
    (Path(attempt.folder) / "exit.json").write_text(content)

    assert hands.until(stage, timeout_s=8) == "failed"
    assert hands.attempt(stage).outcome == "lost"


class ReadingKind(ScriptKind):
    """Judges by a file of the run folder, as training does."""

    name = "reading"

    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        Command.from_bytes(transport.read(run_folder(attempt).command))
        return Verdict(True, result={"value": 0})


registry.register(ReadingKind())


@pytest.mark.parametrize("damage", ["gone", "garbage", "a folder"])
def test_a_run_that_cannot_be_judged_fails_and_says_so(hands: Hands, damage: str) -> None:
    stage, attempt = ended(hands)
    Stage.objects.filter(pk=stage.pk).update(kind="reading")
    command = Path(attempt.folder) / "command.json"
    command.unlink()
    if damage == "garbage":
        command.write_text("{")
    elif damage == "a folder":
        command.mkdir()

    assert hands.until(stage, timeout_s=8) == "failed"
    assert "cannot be read" in stage.error_message


class UnkeptKind(ScriptKind):
    """What it makes of its end finds no place in the database."""

    name = "unkept"

    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        return Verdict(exit_info["code"] == 0, "it failed", result={"value": 0})

    def settle(self, stage: Stage, attempt: Attempt, verdict: Verdict) -> None:
        raise ValueError("no place for this")


registry.register(UnkeptKind())


def test_a_run_whose_end_cannot_be_kept_fails_and_says_so(hands: Hands) -> None:
    stage, attempt = ended(hands)
    Stage.objects.filter(pk=stage.pk).update(kind="unkept")

    assert hands.until(stage, timeout_s=8) == "failed"
    assert "cannot be kept: no place for this" in stage.error_message
    attempt.refresh_from_db()
    assert attempt.outcome == "failed"


def test_a_cancelled_run_whose_end_cannot_be_kept_is_cancelled(hands: Hands) -> None:
    stage = hands.script(SLEEP, params={"grace": 0.1})
    hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    Stage.objects.filter(pk=stage.pk).update(kind="unkept")

    cancel.cancel_stage(stage.pk, user=builders.person())

    assert hands.until(stage) == "cancelled"


def test_a_runner_without_a_process_record_is_seen_to_run(hands: Hands) -> None:
    stage = hands.script(SLEEP, timeout_s=1)
    attempt = hands.launch(stage)
    record = Path(attempt.folder) / "process.json"
    end = time.monotonic() + 15
    while not record.exists() and time.monotonic() < end:
        time.sleep(0.02)
    record.write_text("{")
    Stage.objects.filter(pk=stage.pk).update(changed_at="2020-01-01T00:00:00Z")

    assert hands.until(stage, timeout_s=15) == "failed"
    assert "timeout" in stage.error_message


class Refused(ScriptKind):
    """Whose readings the database refuses, now and always."""

    name = "refused"

    def observe(self, stage: Stage, attempt: Attempt, transport: Transport) -> SyncResult:
        raise IntegrityError("CHECK constraint failed")


registry.register(Refused())


def test_what_the_database_refuses_keeps_no_run_from_its_end(hands: Hands) -> None:
    stage = hands.script("pass")
    Stage.objects.filter(pk=stage.pk).update(kind=Refused.name)
    hands.launch(stage)
    assert hands.until(stage) == "completed"


class Breaks(Rule):
    """Somebody's own rule, in which not all was thought of."""

    name: ClassVar = "breaks"
    title: ClassVar = "Breaks"
    aliases: ClassVar = ("train/loss",)

    def begin(self) -> None:
        return None

    def read(self, state: None, points: Sequence[Point], limits: Mapping[str, float]) -> tuple[None, list[Mark]]:
        raise KeyError("a limit that it has not")


@pytest.mark.parametrize("steps", [20, MOST_AT_ONCE + 1], ids=["read by syncs", "left for the end"])
def test_a_rule_that_breaks_keeps_no_run_from_its_metrics_and_no_other_rule_from_reading(
    hands: Hands, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setitem(cast(dict[str, Rule], RULES), Breaks.name, Breaks())
    loss = f'"NaN" if n == {steps - 1} else 1 / (n + 1)'
    stage = watched(
        hands, f'for n in range({steps}): step(n, **{{"train/loss": {loss}}})', algorithm="sft", policy="notify"
    )
    hands.launch(stage)
    assert hands.until(stage) == "completed"
    assert Stream.objects.get(pk=stage.pk).last_step == steps - 1
    assert ("nan_inf", steps - 1) in Finding.objects.values_list("rule", "end_step")


def test_a_doctor_that_breaks_on_what_is_left_to_read_keeps_no_run_from_its_end(hands: Hands) -> None:
    """More steps at once than a sync reads itself: the doctor comes to them when the run has ended."""
    more = MOST_AT_ONCE + 1
    stage = watched(hands, f'for n in range({more}): step(n, **{{"train/loss": 1.0}})', algorithm="sft")
    Stream.objects.filter(pk=stage.pk).update(learnt={"rules": {"grad_spike": {"a field": "that there is not"}}})
    attempt = hands.launch(stage)
    wait_until(lambda: Path(run_folder(attempt).exit).exists(), 20)
    assert hands.until(stage) == "completed"
    assert Stream.objects.get(pk=stage.pk).last_step == more - 1
