"""Runs as jobs of a real Ray cluster: enrolled through the shared folder, started once, watched, stopped."""

import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from environments import training
from environments.models import Host
from environments.services import hosts
from environments.services.ray_hosts import enrol
from environments.transports import TransportError, Unreachable
from environments.transports.ray import job_name
from environments.transports.ray_jobs import RayJobs, checked, jobs_of
from pipelines.models import Attempt
from pipelines.selectors import waiting_for
from pipelines.services import launch
from pipelines.services.cancel import cancel_stage, stop_attempt
from pipelines.services.dispatch import dispatch
from pipelines.states import StageStatus
from platform_runtime import processes
from platform_site.common.errors import Invalid
from platform_site.common.models import User
from tests import people
from tests.pipelines import builders
from tests.pipelines.conftest import Hands
from tests.processes import arguments
from tests.training.trainings import PYTHON, need_training_environment

from .conftest import Head, start

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.training, pytest.mark.timeout(400)]


def folder_of(hands: Hands, stage) -> Path:
    return Path(hands.attempt(stage).folder)


@pytest.mark.parametrize(
    ("address", "token", "fine"),
    [
        ("http://127.0.0.1:8265", False, True),
        ("http://localhost:8265/", False, True),
        ("https://ray-head:8265", True, True),
        ("https://ray-head:8265", False, False),
        ("http://ray-head:8265", True, False),
        ("http://10.0.0.5:8265", True, False),
        ("https://user:word@ray-head:8265", True, False),
        ("ftp://127.0.0.1", False, False),
        ("ray-head:8265", True, False),
        ("", True, False),
    ],
)
def test_an_address_beyond_this_machine_needs_a_token_and_tls(address: str, token: bool, fine: bool) -> None:
    if fine:
        assert checked(address, has_token=token) == address.rstrip("/")
    else:
        with pytest.raises(Invalid):
            checked(address, has_token=token)


def test_a_refused_address_is_kept_nowhere_and_asked_nothing(db: None) -> None:
    with pytest.raises(Invalid, match="https://"):
        enrol(
            name="cluster", address="http://192.0.2.1:8265", token="a word", root="/shared", python="/usr/bin/python3",
            project=builders.project(), user="test",
        )  # fmt: skip
    assert not Host.objects.exists()


def test_a_cluster_is_enrolled_through_the_shared_folder(cluster: Host, head: Head) -> None:
    assert [gpu["index"] for gpu in cluster.gpus] == [0]
    assert head.token not in cluster.secret
    assert jobs_of(Host.objects.get(pk=cluster.pk)).token == head.token
    assert [path.name for path in Path(cluster.root).iterdir()] == ["runtime"]


def test_one_that_was_added_is_checked_through_the_folder_and_takes_runs_then(
    db: None, head: Head, tmp_path: Path
) -> None:
    builders.queues(slots=4)
    fields = {
        "address": head.address,
        "token": head.token,
        "root": str(tmp_path / "shared folder"),
        "python": str(tmp_path / "python"),
    }
    (tmp_path / "python").symlink_to("/bin/false")
    host = hosts.create(people.charlie(), builders.project(), "lab", fields, Host.Kind.RAY)
    with pytest.raises(Invalid, match="could not answer through"):
        hosts.check(host)
    host.refresh_from_db()
    assert "could not answer through" in host.last_error
    assert not training.state(host).ready

    hosts.update(User.objects.get(), host, {"python": PYTHON})
    hosts.check(host)
    host.refresh_from_db()
    assert training.state(host).ready
    assert host.last_error == ""
    assert host.facts["ray"]
    assert [gpu["index"] for gpu in host.gpus] == [0]
    hands = Hands(host)
    stage = hands.script("print('here')")
    hands.launch(stage)
    assert hands.until(stage, timeout_s=120) == "completed"


def test_a_folder_that_the_cluster_does_not_see_is_refused(db: None, head: Head, tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to("/bin/false")
    with pytest.raises(Invalid, match="could not answer through"):
        enrol(
            name="cluster", address=head.address, token=head.token, root=str(tmp_path / "here"),
            python=str(tmp_path / "python"), project=builders.project(), user="test",
        )  # fmt: skip
    assert not Host.objects.exists()
    assert not list((tmp_path / "here").glob("enrol-*"))


def test_a_wrong_token_is_a_condition_that_says_so(head: Head) -> None:
    with pytest.raises(Unreachable, match="does not take the token"):
        RayJobs(head.address, "wrong").version()


def test_a_run_goes_through_the_cluster_and_its_files_through_the_folder(
    cluster: Host, hands: Hands, head: Head
) -> None:
    stage = hands.script("import os; print(sorted(os.environ))")
    attempt = hands.launch(stage)
    assert hands.until(stage, timeout_s=120) == "completed"
    folder = folder_of(hands, stage)
    seen = (folder / "output.log").read_text()
    assert "'RAY_ADDRESS'" in seen
    assert "ANNEAL_TEST_HEAD" not in seen
    assert stat.S_IMODE((folder / "command.json").stat().st_mode) == 0o600
    attempt.refresh_from_db()
    assert attempt.exit_code == 0
    assert attempt.completed_at > attempt.started_at
    told = json.dumps([head.jobs._asked("GET", f"/api/jobs/{job_name(attempt.folder)}").json()])
    assert attempt.launch_token not in told
    assert head.token not in told


def test_a_run_is_submitted_once_however_often_it_is_launched(cluster: Host, hands: Hands, head: Head) -> None:
    stage = hands.script("print('once')")
    dispatch()
    attempt = hands.attempt(stage)
    for _delivery in range(5):
        launch.launch(attempt.pk)
    assert hands.until(stage, timeout_s=120) == "completed"
    assert (folder_of(hands, stage) / "output.log").read_text().count("once\n") == 1
    with pytest.raises(TransportError):  # Ray takes no second one of that name
        head.jobs._asked("POST", "/api/jobs/", {"submission_id": job_name(attempt.folder), "entrypoint": "true"})


def test_a_cancelled_run_ends_with_all_that_it_started(cluster: Host, hands: Hands, head: Head) -> None:
    code = (
        "import subprocess, time; subprocess.Popen(['setsid', 'sleep', '4321']); "
        "print('started', flush=True); time.sleep(600)"
    )
    stage = hands.script(code)
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING, timeout_s=120)
    hands.wait(lambda: "started" in (Path(attempt.folder) / "output.log").read_text())
    cancel_stage(stage.pk, user=builders.person())
    stop_attempt(attempt.pk)
    assert hands.until(stage, timeout_s=120) == "cancelled"
    assert not [process for process in head.processes() if arguments(process)[-1:] == ["4321"]]
    assert bearers_of(attempt) == []


def bearers_of(attempt: Attempt) -> list[int]:
    """What on this machine, which is the cluster's too, carries the run's token."""
    return processes.bearers().get(attempt.launch_token, [])


def test_what_a_dead_runner_left_is_found_and_ended(cluster: Host, hands: Hands) -> None:
    stage = hands.script("import time; print('here', flush=True); time.sleep(600)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING, timeout_s=120)
    attempt.refresh_from_db()
    os.kill(attempt.handle["runner_pid"], signal.SIGKILL)
    assert hands.until(stage, timeout_s=200) == "failed"
    assert "its process is gone" in stage.error_message
    assert bearers_of(attempt) == []


def test_a_head_that_died_is_a_condition_and_ends_nothing(db: None, tmp_path: Path) -> None:
    need_training_environment()
    head = start(tmp_path)
    try:
        builders.queues(slots=4)
        host = enrol(
            name="cluster", address=head.address, token=head.token, root=str(tmp_path / "shared"), python=PYTHON,
            slots=4, project=builders.project(), user="test",
        ).host  # fmt: skip
        hands = Hands(host)
        stage = hands.script("import time; time.sleep(600)")
        hands.launch(stage)
        hands.until(stage, StageStatus.RUNNING, timeout_s=120)
    finally:
        head.kill()
    began = time.monotonic()
    hands.look()
    assert time.monotonic() - began < 15
    host.refresh_from_db()
    assert host.unreachable_since is not None
    assert hands.status(stage) == "running"
    waiting = builders.stage(StageStatus.QUEUED, kind="script", queued_at=host.unreachable_since)
    assert dispatch() == 0
    waiting.refresh_from_db()
    assert waiting_for(waiting).startswith("host cluster, silent since 20")
