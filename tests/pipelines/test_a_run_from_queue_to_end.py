"""Real processes under the real runner, moved on by the real observer."""

import json
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.utils import timezone

from environments.transports import for_host
from pipelines.models import Attempt, Stage, Transition
from pipelines.services import cancel, dispatch, launch
from pipelines.services.finish import revoke
from pipelines.states import Outcome, StageStatus
from platform_site.common.errors import Conflict

from . import builders
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)


def carriers(attempt: Attempt) -> list[int]:
    """Processes that carry the attempt's launch token: whatever it started, and nothing else."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ANNEAL_LAUNCH_TOKEN") == attempt.launch_token:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_run_completes_with_its_true_times_and_an_audit_row_a_change(hands: Hands) -> None:
    stage = hands.script("import time; time.sleep(0.4)")
    attempt = hands.launch(stage)

    assert hands.until(stage) == "completed"

    attempt.refresh_from_db()
    exit_info = json.loads((Path(attempt.folder) / "exit.json").read_text())
    assert attempt.outcome == Outcome.SUCCEEDED
    assert attempt.exit_code == 0
    assert stage.started_at is not None
    assert stage.completed_at is not None
    assert (stage.completed_at - stage.started_at).total_seconds() == pytest.approx(exit_info["elapsed_s"], abs=0.01)
    moves = Transition.objects.filter(stage=stage).values_list("from_status", "to_status")
    assert list(moves) == [
        ("pending", "queued"),
        ("queued", "starting"),
        ("starting", "running"),
        ("running", "completed"),
    ]
    stage.pipeline.refresh_from_db()
    assert stage.pipeline.status == "completed"
    assert stage.pipeline.completed_at == stage.completed_at


def test_a_run_that_ended_while_nobody_looked_has_its_true_end(hands: Hands) -> None:
    stage = hands.script("pass")
    attempt = hands.launch(stage)
    record = Path(attempt.folder) / "exit.json"
    while not record.exists():
        time.sleep(0.02)
    told = json.loads(record.read_text())
    hour_ago = {"started_at": told["started_at"] - 3600, "finished_at": told["finished_at"] - 3600}
    record.write_text(json.dumps({**told, **hour_ago}))

    assert hands.until(stage) == "completed"

    assert stage.completed_at is not None
    assert stage.completed_at.timestamp() == pytest.approx(told["finished_at"] - 3600, abs=0.5)


def test_a_clock_set_back_during_a_run_does_not_shorten_it(hands: Hands) -> None:
    stage = hands.script("import time; time.sleep(1)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    ahead = timezone.now() + timedelta(hours=1)
    Attempt.objects.filter(pk=attempt.pk).update(started_at=ahead)
    Stage.objects.filter(pk=stage.pk).update(started_at=ahead)

    assert hands.until(stage) == "completed"

    elapsed = json.loads((Path(attempt.folder) / "exit.json").read_text())["elapsed_s"]
    assert stage.started_at is not None
    assert stage.completed_at is not None
    assert (stage.completed_at - stage.started_at).total_seconds() == pytest.approx(elapsed, abs=0.01)


def test_a_failed_run_says_why_and_fails_its_pipeline(hands: Hands) -> None:
    stage = hands.script("raise SystemExit(3)")
    hands.launch(stage)

    assert hands.until(stage) == "failed"

    stage.pipeline.refresh_from_db()
    assert stage.error_message == "exit 3 signal None"
    assert stage.pipeline.status == "failed"
    assert stage.pipeline.error_message == "Stage train failed: exit 3 signal None"


def test_what_can_pass_is_tried_again_as_a_new_attempt_after_a_pause(hands: Hands) -> None:
    stage = hands.script("import os, sys; sys.exit(0 if os.getcwd().endswith('attempt-2') else 1)", max_retries=1)
    hands.launch(stage)

    assert hands.until(stage, StageStatus.QUEUED) == "queued"
    assert stage.not_before is not None
    assert stage.not_before > timezone.now()
    Stage.objects.filter(pk=stage.pk).update(not_before=timezone.now() - timedelta(seconds=1))
    hands.launch(stage)

    assert hands.until(stage) == "completed"
    assert list(Attempt.objects.filter(stage=stage).values_list("number", "outcome")) == [
        (1, "failed"),
        (2, "succeeded"),
    ]


def test_fifty_deliveries_of_one_message_start_one_process(hands: Hands) -> None:
    stage = hands.script("open('began', 'a').write('x'); import time; time.sleep(30)")
    attempt = hands.launch(stage)
    for _delivery in range(49):
        launch.launch(attempt.id)

    hands.until(stage, StageStatus.RUNNING)
    began = Path(attempt.folder) / "began"
    hands.wait(began.exists)
    assert began.read_text() == "x"
    assert len(carriers(attempt)) == 1


def test_a_message_that_arrives_after_the_cancel_starts_nothing(hands: Hands) -> None:
    stage = hands.script("import time; time.sleep(30)")
    attempt = hands.attempt(stage)
    dispatch.dispatch()
    cancel.cancel_stage(stage.id, user=builders.person())
    cancel.stop_attempt(attempt.id)
    launch.launch(attempt.id)

    assert hands.until(stage) == "cancelled"
    assert carriers(attempt) == []


def test_a_worker_that_slept_between_prepare_and_spawn_finds_the_claim_revoked(hands: Hands) -> None:
    stage = hands.script("open('began', 'w')")
    attempt = hands.attempt(stage)
    dispatch.dispatch()
    attempt.refresh_from_db()
    transport = for_host(hands.host)
    assert revoke(attempt, transport)
    launch.launch(attempt.id)

    assert not (Path(attempt.folder) / "began").exists()
    assert hands.until(stage, StageStatus.QUEUED) == "queued"
    assert hands.attempt(stage).number == 2


def test_cancel_ends_the_whole_process_tree(hands: Hands) -> None:
    stage = hands.script(
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "open('ready', 'w')\ntime.sleep(60)"
    )
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    hands.wait((Path(attempt.folder) / "ready").exists)
    assert len(carriers(attempt)) == 2

    cancel.cancel_stage(stage.id, user=builders.person())
    cancel.stop_attempt(attempt.id)

    assert hands.until(stage) == "cancelled"
    assert carriers(attempt) == []
    stage.pipeline.refresh_from_db()
    assert stage.pipeline.status == "cancelled"


def test_a_child_that_ignores_terminate_is_killed_after_its_grace(hands: Hands) -> None:
    stage = hands.script(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); time.sleep(60)",
        params={"grace": 0.5},
    )
    attempt = hands.launch(stage)
    hands.wait((Path(attempt.folder) / "ready").exists)

    cancel.cancel_stage(stage.id, user=builders.person())

    assert hands.until(stage) == "cancelled"
    assert carriers(attempt) == []


def test_cancelling_what_has_ended_is_refused(hands: Hands) -> None:
    stage = hands.script("pass")
    hands.launch(stage)
    hands.until(stage)
    with pytest.raises(Conflict, match="already ended"):
        cancel.cancel_stage(stage.id, user=builders.person())


def test_a_run_past_its_timeout_is_stopped_and_failed_with_that_reason(hands: Hands) -> None:
    stage = hands.script("import time; time.sleep(60)", timeout_s=1)
    attempt = hands.launch(stage)

    assert hands.until(stage) == "failed"
    assert "timeout of 1 s" in stage.error_message
    assert carriers(attempt) == []


def test_a_killed_runner_is_lost_and_what_it_left_is_ended(hands: Hands) -> None:
    stage = hands.script("import time; time.sleep(60)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    attempt.refresh_from_db()
    psutil.Process(attempt.handle["runner_pid"]).kill()

    assert hands.until(stage) == "failed"
    attempt.refresh_from_db()
    assert attempt.outcome == Outcome.LOST
    assert "lost" in stage.error_message
    assert carriers(attempt) == []


def test_a_run_from_before_a_restart_of_its_machine_is_lost_and_whoever_has_its_number_is_left_alone(
    hands: Hands,
) -> None:
    stage = hands.script("import time; time.sleep(60)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    attempt.refresh_from_db()
    psutil.Process(attempt.handle["runner_pid"]).kill()  # first: a restart leaves nobody to write down an end
    for one in carriers(attempt):
        psutil.Process(one).kill()
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        now_its = {"pid": stranger.pid, "runner_pid": stranger.pid, "child_pid": stranger.pid, "boot_id": "another"}
        for name in ("claim", "process.json"):
            record = Path(attempt.folder) / name
            before = json.loads(record.read_text())
            record.write_text(json.dumps(before | {key: now_its[key] for key in before.keys() & now_its.keys()}))

        assert hands.until(stage) == "failed"
        assert stranger.poll() is None
        stranger.kill()
    attempt.refresh_from_db()
    assert attempt.outcome == Outcome.LOST
    assert "the machine was restarted" in stage.error_message


def test_a_training_process_killed_by_the_kernel_fails_with_a_hint_of_its_signal(hands: Hands) -> None:
    stage = hands.script("import os; os.kill(os.getpid(), 9)")
    hands.launch(stage)
    assert hands.until(stage) == "failed"
    assert "signal 9" in stage.error_message


def test_a_folder_that_cannot_be_written_is_one_clear_error(hands: Hands, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    type(hands.host).objects.filter(pk=hands.host.pk).update(root=str(tmp_path / "file"))
    stage = hands.script("pass")
    hands.launch(stage)
    assert hands.status(stage) == "failed"
    assert "a file stands where a folder should be" in stage.error_message
